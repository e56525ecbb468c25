#include <fovea/core/dry_run.h>
#include <fovea/core/files.h>
#include <fovea/core/random.h>
#include <fovea/examples/support/checkpoint.h>

#include <algorithm>

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

namespace support {

fovea::SafetensorsFile read_checkpoint(const std::filesystem::path& path,
                                       const std::string& program) {
  std::error_code none;
  if (std::filesystem::exists(path, none) && !std::filesystem::is_regular_file(path, none))
    fovea::raise<fovea::Error>("load", "{}: must be a regular file", path.string());
  std::string bytes = fovea::read_file(path);  // errors name the file
  try {
    return fovea::SafetensorsFile::parse(std::move(bytes), path.string());
  } catch (const fovea::FormatError& error) {
    fovea::format_error("load", "{}: must be a model written by {}, without damage: {}",
                        path.string(), program, error.what());
  }
}

const std::string& metadata_text(const fovea::SafetensorsFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end())
    fovea::format_error("load", "{}: metadata '{}' is missing", file.source(), key);
  return found->second;
}

fovea::nn::data::Vocab read_vocab(const fovea::SafetensorsFile& file, const std::string& key,
                                  const std::string& table) {
  const fovea::SafetensorsEntry* rows = file.find(table);
  if (!rows || rows->shape.size() != 2)
    fovea::format_error("load", "{}: matrix '{}' is missing", file.source(), table);
  try {
    auto vocab = fovea::nn::data::Vocab::from_json(metadata_text(file, key), rows->shape[0]);
    if (vocab.size() == rows->shape[0]) return vocab;
    fovea::format_error("load", "{} tokens: must be {}, the number of rows of '{}'", vocab.size(),
                        rows->shape[0], table);
  } catch (const fovea::FormatError& error) {
    fovea::format_error("load", "{}: {}: {}", file.source(), key, error.what());
  }
}

SavedOptions::SavedOptions(const std::string& json, std::string source)
    : source_(std::move(source)) {
  constexpr std::size_t most_bytes = 1 << 16;
  if (json.size() > most_bytes)
    fovea::format_error("load", "{}: options of {} bytes: must be at most {}", source_, json.size(),
                        most_bytes);
  auto parsed = nlohmann::json::parse(json, nullptr, false);
  if (!parsed.is_object())
    fovea::format_error("load", "{}: options: must be a JSON object", source_);
  json_ = std::make_shared<const nlohmann::json>(std::move(parsed));
}

bool SavedOptions::has(const std::string& key) const { return json_->contains(key); }

const nlohmann::json& SavedOptions::at(const std::string& key) const {
  const auto found = json_->find(key);
  if (found == json_->end())
    fovea::format_error("load", "{}: options: '{}' is missing", source_, key);
  return *found;
}

void SavedOptions::refuse(const std::string& key, const std::string& rule) const {
  std::string text = at(key).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > 80) text = text.substr(0, 80) + "...";
  fovea::format_error("load", "{}: options: {} = {}: {}", source_, key, text, rule);
}

template <class T>
T SavedOptions::number(const std::string& key, const std::type_identity_t<Range<T>>& range) const {
  const nlohmann::json& value = at(key);
  bool fits = false;
  if constexpr (std::integral<T>) {
    // Checked before conversion: a conversion to another signedness would wrap around.
    if (value.is_number_unsigned()) {
      fits = std::in_range<T>(value.get<std::uint64_t>());
    } else if (value.is_number_integer()) {
      fits = std::in_range<T>(value.get<std::int64_t>());
    }
  } else {
    fits = value.is_number();
  }
  if (!fits || !range.contains(value.get<T>())) refuse(key, range.rule());
  return value.get<T>();
}
template std::int64_t SavedOptions::number(const std::string&, const Range<std::int64_t>&) const;
template std::uint64_t SavedOptions::number(const std::string&, const Range<std::uint64_t>&) const;
template double SavedOptions::number(const std::string&, const Range<double>&) const;

std::string SavedOptions::text(const std::string& key) const {
  if (!at(key).is_string()) refuse(key, "must be a string");
  return at(key).get<std::string>();
}

std::string SavedOptions::choice(const std::string& key,
                                 const std::vector<std::string>& names) const {
  std::string name = text(key);
  if (std::find(names.begin(), names.end(), name) == names.end())
    refuse(key, fmt::format("must be one of {}", fmt::join(names, ", ")));
  return name;
}

bool SavedOptions::is_flag(const std::string& key) const { return at(key).is_boolean(); }

bool SavedOptions::flag(const std::string& key) const {
  if (!is_flag(key)) refuse(key, "must be true or false");
  return at(key).get<bool>();
}

void compare_tensors(const fovea::SafetensorsFile& file,
                     const std::function<fovea::NamedTensors(fovea::Rng&)>& tensors_of_new_model) {
  const fovea::DryRun dry_run;
  fovea::Rng rng(0);
  try {
    fovea::check_fits(file, tensors_of_new_model(rng));
  } catch (const fovea::ValueError& error) {  // inconsistent sizes
    fovea::format_error("load", "{}: options: {}", file.source(), error.what());
  } catch (const fovea::ShapeError& error) {  // more bytes than a process can address
    fovea::format_error("load", "{}: options: {}", file.source(), error.what());
  }
}

}  // namespace support
