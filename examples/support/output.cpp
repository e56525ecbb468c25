#include <fovea/core/error.h>
#include <fovea/core/file_lock.h>
#include <fovea/core/files.h>
#include <fovea/examples/support/output.h>

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace support {
namespace {

namespace fs = std::filesystem;

void check_one(const NamedPath& output) {
  const auto& [option, path, read_again] = output;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code ignored;
  if (fs::is_directory(path, ignored))
    fovea::value_error(option, "{}: must be a file, is a directory", path.string());
  if (!fs::is_directory(folder, ignored))
    fovea::value_error(option, "{}: directory {} does not exist", path.string(), folder.string());
  fovea::check_writable(path, option);
  if (read_again && fovea::OutputTarget(path, option).stream)
    fovea::value_error(option, "{}: must be a regular file", path.string());
}

struct Known {
  const NamedPath* named;
  fovea::OutputTarget target;
};

// Adds the paths whose directory exists.
void add_known(const NamedPaths& paths, std::vector<Known>& known) {
  std::error_code ignored;
  for (const NamedPath& named : paths)
    if (!named.path.empty() && fs::exists(fs::absolute(named.path).parent_path(), ignored))
      known.push_back({&named, fovea::OutputTarget(named.path, named.option)});
}

}  // namespace

NamedPaths outputs_of_training(const fs::path& model, const fs::path& last) {
  if (model.empty()) return {};
  NamedPaths outputs{{"--save", model, true}};
  if (!last.empty()) outputs.push_back({"the checkpoint of --save", last, true});
  return outputs;
}

std::vector<EarlierFile> earlier_files(const fs::path& model, const fs::path& last) {
  std::vector<EarlierFile> files;
  if (model.empty()) return files;
  std::error_code error;
  for (const fs::path& given : {model, last})
    if (!given.empty() && fs::is_regular_file(given, error))
      if (const fs::path path = fs::canonical(given, error);
          !error)  // symbolic links are not renamed
        files.push_back({path, {}});
  std::string ending = ".old";
  const auto is_taken = [&](const EarlierFile& file) {
    return fs::exists(fs::symlink_status(file.path.string() + ending, error));
  };
  for (int n = 2; std::any_of(files.begin(), files.end(), is_taken); ++n)
    ending = fmt::format(".old.{}", n);
  for (EarlierFile& file : files) file.backup = file.path.string() + ending;
  return files;
}

NamedPaths names_of_earlier(const fs::path& model, const fs::path& last) {
  NamedPaths names;
  for (const EarlierFile& file : earlier_files(model, last))
    names.push_back({"the earlier file of --save", file.backup});
  return names;
}

NamedPaths files_of_model(const fs::path& model) {
  if (model.empty()) return {};
  NamedPaths names{{"--load", model}};
  const fs::path last = model.string() + ".last";
  std::error_code ignored;
  if (fs::exists(last, ignored)) names.push_back({"the checkpoint of --load", last});
  return names;
}

void check_outputs(const NamedPaths& outputs, const NamedPaths& inputs) {
  for (const NamedPath& output : outputs)
    if (!output.path.empty()) check_one(output);
  NamedPaths in_use;
  std::vector<std::pair<const char*, const char*>> descriptors{
      {"standard output", "/proc/self/fd/1"}, {"standard error", "/proc/self/fd/2"}};
  for (const NamedPath& input : inputs)
    if (input.path == "-") descriptors.emplace_back(input.option.c_str(), "/proc/self/fd/0");
  for (const NamedPath& output : outputs)  // outputs of a training are locked
    if (output.read_again && !output.path.empty())
      in_use.push_back(
          {"the lock of " + output.option, fovea::lock_path(output.option, output.path)});
  for (const auto& [name, path] : descriptors)
    if (std::error_code ignored; fs::exists(path, ignored)) in_use.push_back({name, path});
  std::vector<Known> known;
  add_known(in_use, known);
  add_known(inputs, known);
  const std::size_t first_output = known.size();
  add_known(outputs, known);
  for (std::size_t i = first_output; i < known.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      const auto& [a, b] = std::pair(known[i], known[j]);
      if (a.target.same_file(b.target) && !(a.target.stream && b.target.stream))
        fovea::value_error(a.named->option, "{} is also the file of {} ({}): must be another file",
                           a.named->path.string(), b.named->option, b.named->path.string());
    }
}

std::string json_text(const nlohmann::ordered_json& json) {
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace support
