// The trainings whose files are tested, and the checks of their files.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

struct Subject {
  std::string name;                    ///< of the program
  std::vector<std::string> arguments;  ///< of a short training
  std::vector<std::string> outputs;    ///< names of the output files
  bool resumes = false;                ///< has FILE.last and --resume
};

/// For "translate", "sentiment" or "generate".
Subject subject_named(const std::string& name);

/// Writes the training's data, and an old file with the name of each output.
void prepare(const Subject& subject, const std::filesystem::path& folder);
std::string old_text(const std::string& output);

constexpr const char* model_name = "model.st";
constexpr const char* last_name = "model.st.last";

/// The error of the files after a run that may have ended anywhere, empty if there is none: each
/// file must be unchanged, or new and complete, and the earlier model must exist under one of its
/// names.
std::string what_is_broken(const Subject& subject, const std::filesystem::path& folder);

/// The files' contents by name, without times, which differ between runs.
std::map<std::string, std::string> results(const Subject& subject,
                                           const std::filesystem::path& folder);

/// Names of temporary files in the directory.
std::vector<std::string> temporary_files(const std::filesystem::path& folder);
