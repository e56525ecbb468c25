// The trainings whose files are tested, and what their files must be.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

struct Subject {
  std::string name;                    ///< of the program
  std::vector<std::string> arguments;  ///< of a training that takes a moment
  std::vector<std::string> outputs;    ///< names of the files that it writes
  bool resumes = false;                ///< has FILE.last and --resume
};

/// For "translate", "sentiment" or "generate".
Subject subject_named(const std::string& name);

/// Writes the training's data, and an old file at the place of each output.
void prepare(const Subject& subject, const std::filesystem::path& folder);
std::string old_text(const std::string& output);

constexpr const char* model_name = "model.st";
constexpr const char* last_name = "model.st.last";

/// What is wrong with the files after a run that may have ended anywhere; empty if nothing: each
/// is as it was before or new and whole, and the earlier model is there under one of its names.
std::string what_is_broken(const Subject& subject, const std::filesystem::path& folder);

/// The files' contents without what differs from run to run, by name: times.
std::map<std::string, std::string> results(const Subject& subject,
                                           const std::filesystem::path& folder);

/// Names of temporary files in the folder.
std::vector<std::string> temporary_files(const std::filesystem::path& folder);
