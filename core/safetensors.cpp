#include <fovea/core/autograd.h>
#include <fovea/core/checksum_detail.h>
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/safetensors.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fovea {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little endian");

using Json = nlohmann::json;

constexpr std::string_view kOp = "safetensors";
constexpr std::string_view kMetadata = "__metadata__";
constexpr std::string_view kHeaderChecksum = "fovea.xxh64.header";
constexpr std::string_view kTensorChecksums = "fovea.xxh64.tensors";
constexpr std::string_view kNoChecksum = "0000000000000000";
constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // as in huggingface/safetensors

struct TypeSize {
  std::string_view name;
  std::int64_t bytes;
};
constexpr TypeSize kTypes[] = {
    {"F64", 8},  {"F32", 4}, {"F16", 2},     {"BF16", 2},    {"I64", 8},    {"I32", 4},
    {"I16", 2},  {"I8", 1},  {"U64", 8},     {"U32", 4},     {"U16", 2},    {"U8", 1},
    {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}};

std::string checksum_text(std::string_view bytes) {
  return fmt::format("{:016x}", checksum(bytes));
}

// Offset of the header's checksum in `bytes`, or npos. The key cannot match inside a metadata
// string, where quotes are escaped.
std::size_t header_checksum_at(std::string_view bytes) {
  const std::string key = fmt::format(R"("{}":")", kHeaderChecksum);
  const std::size_t at = bytes.find(key);
  const bool inside = at != bytes.npos && bytes.size() - at >= key.size() + kNoChecksum.size();
  return inside ? at + key.size() : bytes.npos;
}

constexpr DType kTensorTypes[] = {DType::f32, DType::f64, DType::i64, DType::boolean};

// Builds the header's JSON. Json::parse() keeps the last of duplicate names, and its time and
// memory per value are not bounded by the size of the header if the header is nested.
struct HeaderBuilder final : Json::json_sax_t {
  Json root;
  std::string problem;

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in text
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    const auto [at, is_new] = open_.back()->emplace(name, nullptr);
    member_ = &*at;
    return is_new || refuse(fmt::format("'{}': the name occurs twice", name));
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& e) override {
    return refuse(fmt::format("the header is not valid JSON: {}", e.what()));
  }

 private:
  static constexpr std::size_t kMaxDepth = 8;          // a tensor's shape is at depth 3
  static constexpr std::int64_t kMaxValues = 1 << 22;  // of about 500,000 tensors

  bool refuse(std::string text) {
    problem = std::move(text);
    return false;
  }
  // The new value, in the open object or array; null if there are too many.
  Json* put(Json value) {
    if (++values_ > kMaxValues) return nullptr;
    if (open_.empty()) return &(root = std::move(value));
    if (open_.back()->is_array()) return &open_.back()->emplace_back(std::move(value));
    return &(*member_ = std::move(value));
  }
  bool add(Json value) {
    return put(std::move(value)) ||
           refuse(fmt::format("the header has more than {} values", kMaxValues));
  }
  bool open(Json value) {
    if (open_.size() == kMaxDepth)
      return refuse(fmt::format("the header is nested more than {} deep", kMaxDepth));
    if (Json* const place = put(std::move(value))) {
      open_.push_back(place);
      return true;
    }
    return refuse(fmt::format("the header has more than {} values", kMaxValues));
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::vector<Json*> open_;
  Json* member_ = nullptr;  // of the last key
  std::int64_t values_ = 0;
};

// Parses the header; every message begins with the file's name.
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view source) : source_(source) {}

  void parse(std::string_view header, std::size_t data_size);

  Metadata metadata;
  std::vector<SafetensorsEntry> entries;

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    format_error(kOp, "{}: {}", source_, fmt::format(format, std::forward<Args>(args)...));
  }

  Json parse_json(std::string_view header) const;
  void read_metadata(const Json& object);
  SafetensorsEntry read_entry(const std::string& name, const Json& object) const;
  std::int64_t read_size(const std::string& name, std::string_view key, const Json& value) const;
  const Json& member(const std::string& name, const Json& object, const char* key) const;
  void check_size(const SafetensorsEntry& entry) const;
  void check_coverage(std::size_t data_size) const;

  std::string source_;
};

// Removes the checksums from the metadata, verifies `before_data` and sets each entry's checksum.
// `entries` are in byte order.
void take_checksums(std::string_view before_data, const std::string& source, Metadata& metadata,
                    std::vector<SafetensorsEntry>& entries) {
  const auto header = metadata.extract(std::string(kHeaderChecksum));
  const auto tensors = metadata.extract(std::string(kTensorChecksums));
  if (header.empty() && tensors.empty()) return;
  if (header.empty() || tensors.empty())
    format_error(kOp, "{}: the metadata has '{}' without '{}': must have both or neither", source,
                 header.empty() ? kTensorChecksums : kHeaderChecksum,
                 header.empty() ? kHeaderChecksum : kTensorChecksums);
  std::string zeroed(before_data);
  if (const std::size_t at = header_checksum_at(zeroed); at != zeroed.npos)
    zeroed.replace(at, kNoChecksum.size(), kNoChecksum);
  const std::string found = checksum_text(zeroed);
  if (header.mapped() != found)
    format_error(kOp,
                 "{}: the header's checksum is {}: must be {}: the file is damaged, or another "
                 "program changed it and left '{}' in its metadata",
                 source, found, header.mapped(), kHeaderChecksum);
  std::string_view rest = tensors.mapped();
  const std::size_t digits = kNoChecksum.size();
  if (rest.size() != entries.size() * digits)
    format_error(kOp, "{}: '{}' has {} characters: must have {} for each of {} tensors", source,
                 kTensorChecksums, rest.size(), digits, entries.size());
  for (SafetensorsEntry& entry : entries) {
    entry.checksum = rest.substr(0, digits);
    rest.remove_prefix(digits);
  }
}

void HeaderParser::parse(std::string_view header, std::size_t data_size) {
  const Json root = parse_json(header);
  if (!root.is_object()) fail("the header is not a JSON object");
  for (const auto& [name, value] : root.items()) {
    if (name == kMetadata) {
      read_metadata(value);
    } else {
      entries.push_back(read_entry(name, value));
    }
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  check_coverage(data_size);
}

Json HeaderParser::parse_json(std::string_view header) const {
  HeaderBuilder builder;
  Json::sax_parse(header, &builder);
  if (!builder.problem.empty()) fail("{}", builder.problem);
  return std::move(builder.root);
}

void HeaderParser::read_metadata(const Json& object) {
  if (!object.is_object()) fail("'{}' is not an object", kMetadata);
  for (const auto& [key, value] : object.items()) {
    if (!value.is_string()) fail("'{}': '{}' is not a string", kMetadata, key);
    metadata[key] = value.get<std::string>();
  }
}

SafetensorsEntry HeaderParser::read_entry(const std::string& name, const Json& object) const {
  if (!object.is_object()) fail("'{}' is not an object", name);
  const Json& dtype = member(name, object, "dtype");
  const Json& shape = member(name, object, "shape");
  const Json& offsets = member(name, object, "data_offsets");
  if (!dtype.is_string()) fail("'{}': dtype is not a string", name);
  if (!shape.is_array()) fail("'{}': shape is not an array", name);
  if (!offsets.is_array() || offsets.size() != 2)
    fail("'{}': data_offsets is not an array of two numbers", name);
  SafetensorsEntry entry;
  entry.name = name;
  entry.dtype = dtype.get<std::string>();
  for (const Json& size : shape) entry.shape.push_back(read_size(name, "shape", size));
  entry.begin = static_cast<std::size_t>(read_size(name, "data_offsets", offsets[0]));
  entry.end = static_cast<std::size_t>(read_size(name, "data_offsets", offsets[1]));
  check_size(entry);
  return entry;
}

const Json& HeaderParser::member(const std::string& name, const Json& object,
                                 const char* key) const {
  const auto found = object.find(key);
  if (found == object.end()) fail("'{}': {} is missing", name, key);
  return *found;
}

std::int64_t HeaderParser::read_size(const std::string& name, std::string_view key,
                                     const Json& value) const {
  constexpr auto largest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > largest)
    fail("'{}': {} holds {}: must be an integer from 0 to 2^63 - 1", name, key,
         value.is_primitive() ? value.dump() : value.type_name());  // dump() recurses
  return value.get<std::int64_t>();
}

void HeaderParser::check_size(const SafetensorsEntry& entry) const {
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const TypeSize& t) { return t.name == entry.dtype; });
  if (type == std::end(kTypes)) fail("'{}': unknown dtype {}", entry.name, entry.dtype);
  std::int64_t bytes = type->bytes;
  for (const std::int64_t size : entry.shape)
    if (__builtin_mul_overflow(bytes, size, &bytes))
      fail("'{}': shape ({}) has more than 2^63 bytes", entry.name, fmt::join(entry.shape, ", "));
  if (entry.begin > entry.end || entry.end - entry.begin != static_cast<std::uint64_t>(bytes))
    fail("'{}': data_offsets [{}, {}]: {} of shape ({}) needs {} bytes", entry.name, entry.begin,
         entry.end, entry.dtype, fmt::join(entry.shape, ", "), bytes);
}

// Sorted by their first byte, the entries must cover the data without gaps or overlaps.
void HeaderParser::check_coverage(std::size_t data_size) const {
  std::size_t covered = 0;
  const std::string* previous = nullptr;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.end > data_size)
      fail("'{}': ends at byte {} of {}: the file is cut off", entry.name, entry.end, data_size);
    if (entry.begin < covered) fail("'{}' overlaps '{}'", entry.name, *previous);
    if (entry.begin > covered)
      fail("'{}': bytes {} to {} before it belong to no entry", entry.name, covered, entry.begin);
    covered = entry.end;
    previous = &entry.name;
  }
  if (covered != data_size) fail("{} bytes at the end belong to no entry", data_size - covered);
}

}  // namespace

SafetensorsFile SafetensorsFile::read(const std::filesystem::path& path) {
  return parse(read_file(path), path.string());
}

SafetensorsFile SafetensorsFile::parse(std::string bytes, std::string source) {
  std::uint64_t header_size = 0;
  if (bytes.size() < kLengthBytes)
    format_error(kOp, "{}: {} bytes: must begin with the 8 bytes of the header's length", source,
                 bytes.size());
  std::memcpy(&header_size, bytes.data(), kLengthBytes);
  if (header_size > kMaxHeader)
    format_error(kOp, "{}: a header of {} bytes: at most {} are allowed", source, header_size,
                 kMaxHeader);
  if (header_size > bytes.size() - kLengthBytes)
    format_error(kOp, "{}: a header of {} bytes in a file of {}: the file is cut off", source,
                 header_size, bytes.size());
  SafetensorsFile file;
  file.source_ = std::move(source);
  file.bytes_ = std::move(bytes);
  file.data_begin_ = kLengthBytes + header_size;
  HeaderParser parser(file.source_);
  parser.parse(std::string_view(file.bytes_).substr(kLengthBytes, header_size),
               file.bytes_.size() - file.data_begin_);
  file.metadata_ = std::move(parser.metadata);
  file.entries_ = std::move(parser.entries);
  take_checksums(std::string_view(file.bytes_).substr(0, file.data_begin_), file.source_,
                 file.metadata_, file.entries_);
  return file;
}

const SafetensorsEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(),
                   [&](const SafetensorsEntry& entry) { return entry.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

Tensor SafetensorsFile::tensor(std::string_view name) const {
  const SafetensorsEntry* entry = find(name);
  if (!entry) state_error(kOp, "{}: '{}' is not in the file", source_, name);
  const auto* dtype =
      std::find_if(std::begin(kTensorTypes), std::end(kTensorTypes),
                   [&](DType type) { return safetensors_dtype(type) == entry->dtype; });
  if (dtype == std::end(kTensorTypes))
    dtype_error(kOp, "{}: '{}' is {}: a tensor holds F32, F64, I64 or BOOL", source_, name,
                entry->dtype);
  if (entry->shape.size() > kMaxRank)
    shape_error(kOp, "{}: '{}' has {} axes: a tensor has at most {}", source_, name,
                entry->shape.size(), kMaxRank);
  const std::string_view data =
      std::string_view(bytes_).substr(data_begin_ + entry->begin, entry->end - entry->begin);
  // A bool object with a value other than 0 and 1 is undefined behavior.
  if (*dtype == DType::boolean &&
      !std::all_of(data.begin(), data.end(), [](char c) { return c == 0 || c == 1; }))
    format_error(kOp, "{}: '{}': a BOOL must be 0 or 1", source_, name);
  if (!entry->checksum.empty())
    if (const std::string found = checksum_text(data); found != entry->checksum)
      format_error(kOp, "{}: the checksum of '{}' is {}: must be {}: its bytes are damaged",
                   source_, name, found, entry->checksum);
  Tensor result = empty(Shape(entry->shape.begin(), entry->shape.end()), *dtype);
  if (!data.empty()) std::memcpy(result.raw_data(), data.data(), data.size());
  return result;
}

std::string_view safetensors_dtype(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f64:
      return "F64";
    case DType::i64:
      return "I64";
    case DType::boolean:
      return "BOOL";
    case DType::undefined:
      break;
  }
  detail::wrong_dtype(kOp, "a dtype", dtype);
}

namespace {

std::string_view bytes_of(const Tensor& dense) {
  return {reinterpret_cast<const char*>(dense.raw_data()),
          static_cast<std::size_t>(dense.numel() * size_of(dense.dtype()))};
}

// The header's text, padded with spaces so that the data is aligned.
std::string dump_header(const nlohmann::ordered_json& header) try {
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
} catch (const Json::exception& error) {
  value_error(kOp, "a name or a metadata text is not valid UTF-8: {}", error.what());
}

}  // namespace

std::string to_safetensors(const NamedTensors& tensors, const Metadata& metadata,
                           SafetensorsOptions options) {
  check_defined("to_safetensors", tensors);
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return size_of(tensors[a].second.dtype()) > size_of(tensors[b].second.dtype());
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty() || options.checksums) header[std::string(kMetadata)] = metadata;
  std::set<std::string_view> names{kMetadata};
  std::vector<Tensor> dense;
  std::string checksums;
  std::size_t data_size = 0;
  const NoGrad guard;
  for (const std::size_t i : order) {
    const auto& [name, tensor] = tensors[i];
    if (!names.insert(name).second)
      value_error(kOp, "name '{}': must be unique and not reserved", name);
    dense.push_back(tensor.contiguous());
    const std::string_view bytes = bytes_of(dense.back());
    if (options.checksums) checksums += checksum_text(bytes);
    header[name] = {{"dtype", safetensors_dtype(tensor.dtype())},
                    {"shape", std::vector(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {data_size, data_size + bytes.size()}}};
    data_size += bytes.size();
  }
  if (options.checksums) {
    header[std::string(kMetadata)][std::string(kHeaderChecksum)] = kNoChecksum;
    header[std::string(kMetadata)][std::string(kTensorChecksums)] = checksums;
  }
  const std::string text = dump_header(header);
  const std::uint64_t header_size = text.size();
  std::string bytes;
  bytes.reserve(kLengthBytes + text.size() + data_size);
  bytes.append(reinterpret_cast<const char*>(&header_size), kLengthBytes);
  bytes += text;
  if (options.checksums)
    bytes.replace(header_checksum_at(bytes), kNoChecksum.size(), checksum_text(bytes));
  for (const Tensor& tensor : dense) bytes += bytes_of(tensor);
  return bytes;
}

}  // namespace fovea
