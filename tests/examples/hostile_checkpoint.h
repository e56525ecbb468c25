// Checkpoints whose metadata contradicts their tensors or is invalid.
#pragma once

#include <fovea/core/files.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/storage.h>
#include <fovea/tests/support/compare.h>

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

namespace hostile {

using Json = nlohmann::json;

/// The file with other metadata and the same tensors.
inline void rewrite(const std::filesystem::path& from, const std::filesystem::path& to,
                    const std::function<void(fovea::Metadata&)>& change) {
  const auto file = fovea::SafetensorsFile::read(from);
  fovea::NamedTensors tensors;
  for (const auto& entry : file.entries())
    tensors.emplace_back(entry.name, file.tensor(entry.name));
  fovea::Metadata metadata = file.metadata();
  change(metadata);
  fovea::save(to, tensors, metadata);
}

/// The file with one of its options changed.
inline void change_option(const std::filesystem::path& from, const std::filesystem::path& to,
                          const std::string& key, const std::function<void(Json&)>& change) {
  rewrite(from, to, [&](fovea::Metadata& metadata) {
    Json options = Json::parse(metadata.at(key));
    change(options);
    metadata[key] = options.dump();
  });
}

/// The error of load() for `path`, "" if it loads. Also checks that tensors need at most four times
/// the file size.
template <class Load>
std::string refusal(const std::filesystem::path& path, const Load& load) {
  const auto size = static_cast<std::int64_t>(std::filesystem::file_size(path));
  fovea::reset_peak_memory();
  const std::int64_t before = fovea::memory_stats().live_bytes;
  std::string error;
  try {
    load(path);
  } catch (const fovea::Error& thrown) {
    error = thrown.what();
    CHECK(error.find(path.string()) != std::string::npos);
  }
  CHECK(fovea::memory_stats().peak_bytes - before <= 4 * size + 100'000);
  return error;
}

/// Tests every option with invalid values and without a value. `needed`: options that a file must
/// have.
template <class Load>
void check_options(const std::filesystem::path& good, const std::string& key,
                   const std::vector<std::string>& needed, const Load& load) {
  const std::filesystem::path bad = good.parent_path() / "bad.safetensors";
  REQUIRE(refusal(good, load) == "");
  const Json options = Json::parse(fovea::SafetensorsFile::read(good).metadata().at(key));
  for (const std::string& name : needed) REQUIRE(options.contains(name));
  const std::vector<Json> values{
      nullptr,       "nonsense",     -1,  1e300,           1ULL << 40, 1'000'000'000U,
      Json::array(), Json::object(), 9.5, (1ULL << 63) + 5};
  for (const auto& [name, unused] : options.items()) {
    CAPTURE(name);
    for (const Json& value : values) {
      CAPTURE(value.dump());
      // Any number is a valid seed, any string a valid language.
      if (name == "seed" && value.is_number_unsigned()) continue;
      if (value.is_string() && (name == "source" || name == "target")) continue;
      change_option(good, bad, key, [&](Json& o) { o[name] = value; });
      const std::string error = refusal(bad, load);
      CHECK(error.find(name + " = ") != std::string::npos);
    }
    change_option(good, bad, key, [&](Json& o) { o.erase(name); });
    const std::string error = refusal(bad, load);
    for (const std::string& wanted : needed)
      if (wanted == name) CHECK(error.find("'" + name + "' is missing") != std::string::npos);
  }
  for (const char* text : {"", "5", "[1]", "{", "{\"a\":"}) {
    CAPTURE(text);
    rewrite(good, bad, [&](fovea::Metadata& m) { m[key] = text; });
    CHECK(refusal(bad, load).find("must be a JSON object") != std::string::npos);
  }
  rewrite(good, bad, [&](fovea::Metadata& m) { m[key] = std::string(60'000, '['); });
  CHECK(refusal(bad, load).find("must be a JSON object") != std::string::npos);
  rewrite(good, bad, [&](fovea::Metadata& m) { m[key] += std::string(1 << 20, ' '); });
  CHECK(refusal(bad, load).find("must be at most 65536") != std::string::npos);
  rewrite(good, bad, [&](fovea::Metadata& m) { m.erase(key); });
  CHECK(refusal(bad, load) != "");
}

/// Tests vocabularies with too many, too few, duplicate and invalid tokens.
template <class Load>
void check_vocab(const std::filesystem::path& good, const std::string& key, const Load& load) {
  const std::filesystem::path bad = good.parent_path() / "bad.safetensors";
  const Json vocab = Json::parse(fovea::SafetensorsFile::read(good).metadata().at(key));
  const auto with = [&](const Json& changed) {
    rewrite(good, bad, [&](fovea::Metadata& m) { m[key] = changed.dump(); });
    return refusal(bad, load);
  };
  Json changed = vocab;
  changed.push_back("one more");
  CHECK(with(changed).find("more than " + std::to_string(vocab.size()) + " tokens") !=
        std::string::npos);
  changed = vocab;
  changed.erase(changed.size() - 1);
  CHECK(with(changed).find("tokens: must be ") != std::string::npos);
  changed = vocab;
  changed.back() = changed[changed.size() - 2];
  CHECK(with(changed).find("must appear once") != std::string::npos);
  changed.back() = 5;
  CHECK(with(changed).find("must be a string or") != std::string::npos);
  CHECK(with(Json(std::vector<std::string>(200'000, "a"))).find("more than ") != std::string::npos);
  CHECK(with(Json::object()) != "");
  rewrite(good, bad, [&](fovea::Metadata& m) { m.erase(key); });
  CHECK(refusal(bad, load) != "");
}

}  // namespace hostile
