#include "subject.h"

#include <fovea/core/files.h>
#include <fovea/core/safetensors.h>

#include <algorithm>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fs = std::filesystem;

namespace {

void write(const fs::path& path, const std::string& text) {
  fovea::write_file_atomically(path, text);
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

// The columns of each line, without times.
std::string without_times(const std::string& csv) {
  std::istringstream lines(csv);
  std::string kept;
  std::vector<bool> times;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream cells(line);
    std::size_t column = 0;
    for (std::string cell; std::getline(cells, cell, ','); ++column) {
      if (column == times.size()) times.push_back(cell.find("second") != std::string::npos);
      if (!times[column]) kept += cell + ",";
    }
    kept += "\n";
  }
  return kept;
}

// All tensors (except `figures`, which contain times) and the metadata.
std::string without_times(const fovea::SafetensorsFile& file) {
  std::string kept;
  for (const fovea::SafetensorsEntry& entry : file.entries()) {
    if (entry.name.ends_with(".figures") || entry.name.ends_with("_figures")) continue;
    const fovea::Tensor tensor = file.tensor(entry.name).contiguous();
    kept += entry.name + ": ";
    kept.append(reinterpret_cast<const char*>(tensor.raw_data()),
                static_cast<std::size_t>(tensor.numel() * size_of(tensor.dtype())));
  }
  for (const auto& [key, value] : file.metadata()) kept += key + ": " + value + "\n";
  return kept;
}

std::string whole_csv(const std::string& text) {
  if (!text.ends_with('\n')) return "the last line is incomplete";
  std::istringstream lines(text);
  std::ptrdiff_t commas = -1;
  for (std::string line; std::getline(lines, line);) {
    const std::ptrdiff_t here = std::count(line.begin(), line.end(), ',');
    if (commas >= 0 && here != commas) return "lines with different numbers of columns";
    commas = here;
  }
  return "";
}

// The error of a new file; empty if it is complete.
std::string not_whole(const std::string& name, const std::string& text) {
  try {
    if (name.find(".st") != std::string::npos) fovea::SafetensorsFile::parse(text, name);
    if (name.ends_with(".json") && nlohmann::json::parse(text).empty()) return "no figures";
  } catch (const std::exception& error) {
    return error.what();
  }
  if (name.ends_with(".csv")) return whole_csv(text);
  if (name.ends_with(".svg") && !text.ends_with("</svg>\n")) return "no </svg>";
  if (name.ends_with(".html") && text.find("</html>") == std::string::npos) return "no </html>";
  if (name.ends_with(".txt") && !text.ends_with('\n')) return "the last line is incomplete";
  return "";
}

void prepare_translate(const fs::path& data) {
  const std::string source = "ein hund .\neine katze .\nein haus .\ndrei hunde und zwei katzen .\n";
  const std::string target = "a dog .\na cat .\na house .\nthree dogs and two cats .\n";
  write(data / "train.de", repeated(source, 3));
  write(data / "train.en", repeated(target, 3));
  for (const char* split : {"val", "test"}) {
    write(data / (std::string(split) + ".de"), source);
    write(data / (std::string(split) + ".en"), target);
  }
}

void prepare_sentiment(const fs::path& data) {
  const std::string text = "a good film\t1\na bad film\t0\nnot bad at all\t1\nno joy\t0\n";
  write(data / "train.tsv", repeated(text, 3));
  write(data / "dev.tsv", text);
}

}  // namespace

Subject subject_named(const std::string& name) {
  if (name == "translate")
    return {name,
            {"--data",    "data",        "--min-count", "1",        "--embed",   "8",
             "--hidden",  "8",           "--epochs",    "3",        "--batch",   "4",
             "--dropout", "0.2",         "--beam",      "1",        "--threads", "1",
             "--average", "1",           "--save",      model_name, "--log",     "log.csv",
             "--curve",   "curve.svg",   "--heatmap",   "map.svg",  "--align",   "align.txt",
             "--json",    "figures.json"},
            {model_name, last_name, "log.csv", "curve.svg", "map.svg", "align.txt", "figures.json"},
            true};
  if (name == "sentiment")
    return {
        name,
        {"--data",    "data",     "--model",     "gru",      "--embed",     "8",         "--hidden",
         "8",         "--epochs", "3",           "--batch",  "4",           "--dropout", "0.2",
         "--threads", "1",        "--save",      model_name, "--log",       "log.csv",   "--curve",
         "curve.svg", "--report", "report.html", "--json",   "figures.json"},
        {model_name, last_name, "log.csv", "curve.svg", "report.html", "figures.json"},
        true};
  if (name == "generate")
    return {name,
            {"--text",    "data/text.txt",
             "--steps",   "6",
             "--layers",  "1",
             "--width",   "8",
             "--heads",   "1",
             "--context", "8",
             "--batch",   "2",
             "--tokens",  "8",
             "--save",    model_name,
             "--json",    "figures.json",
             "--report",  "report.html"},
            {model_name, last_name, "figures.json", "report.html"},
            true};
  throw std::runtime_error("unknown program " + name);
}

void prepare(const Subject& subject, const fs::path& folder) {
  fs::remove_all(folder);
  fs::create_directories(folder / "data");
  if (subject.name == "translate") prepare_translate(folder / "data");
  if (subject.name == "sentiment") prepare_sentiment(folder / "data");
  if (subject.name == "generate")
    write(folder / "data" / "text.txt", repeated("the cat sleeps.\n", 40));
  for (const std::string& output : subject.outputs) write(folder / output, old_text(output));
}

std::string old_text(const std::string& output) { return "the old " + output + "\n"; }

std::string what_is_broken(const Subject& subject, const fs::path& folder) {
  const auto is_old = [](const fs::path& path, const std::string& output) {
    return fs::exists(path) && fovea::read_file(path) == old_text(output);
  };
  for (const std::string& output : subject.outputs) {
    const fs::path path = folder / output;
    if (is_old(path, output)) continue;
    if (fs::exists(path))
      if (const std::string wrong = not_whole(output, fovea::read_file(path)); !wrong.empty())
        return output + ": " + wrong;
    // An earlier model is renamed, other files are replaced.
    const bool renamed = output == model_name || output == last_name;
    if (renamed ? !is_old(path.string() + ".old", output) : !fs::exists(path))
      return "the old " + output + " is lost";
  }
  return "";
}

std::map<std::string, std::string> results(const Subject& subject, const fs::path& folder) {
  std::map<std::string, std::string> found;
  for (const std::string& output : subject.outputs) {
    if (!fs::exists(folder / output)) continue;
    const std::string text = fovea::read_file(folder / output);
    if (output == last_name) {
      found[output] = without_times(fovea::SafetensorsFile::parse(text, output));
    } else if (output.ends_with(".csv")) {
      found[output] = without_times(text);
    } else if (output == model_name || output == "map.svg" || output == "align.txt") {
      found[output] = text;
    } else {
      found[output] = not_whole(output, text);
    }
  }
  return found;
}

std::vector<std::string> temporary_files(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with(".")) names.push_back(entry.path().filename());
  return names;
}
