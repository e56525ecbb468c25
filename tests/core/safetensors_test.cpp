#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/safetensors.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/skip.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace fovea;
using test::message_of;

namespace {

std::string file_of(std::string header, std::size_t data_bytes) {
  const std::uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\0');
}

// One entry 'w' with the given members, over `data_bytes` bytes.
std::string entry(const std::string& members, std::size_t data_bytes) {
  return file_of(R"({"w":{)" + members + "}}", data_bytes);
}

std::string refusal(const std::string& bytes) {
  return message_of<FormatError>([&] { SafetensorsFile::parse(bytes, "F"); });
}

template <class T>
void check_same(const Tensor& a, const Tensor& b) {
  CHECK(a.shape() == b.shape());
  CHECK(a.to_vector<T>() == b.to_vector<T>());
}

}  // namespace

TEST_CASE("safetensors: all types, shapes and texts are read back") {
  const Tensor w = tensor({{1, 2, 3}, {4, 5, 6}});
  const NamedTensors list = {
      {"mask", from_data(std::vector<bool>{true, false, true}, {3})},
      {"w", w},
      {"index", from_data(std::vector<int64_t>{-1, int64_t{1} << 40}, {2, 1})},
      {"empty", zeros({0, 4})},
      {"scalar", scalar(0.1, DType::f64)},
      {"a \"name\" in\n\u4e2d\u6587", tensor({7})}};
  const Metadata metadata = {{"license", "MIT"}, {"vocab", "a\nb\t\"c\""}};
  const SafetensorsFile file = SafetensorsFile::parse(to_safetensors(list, metadata), "F");
  CHECK(file.metadata() == metadata);
  CHECK(file.entries().size() == list.size());
  check_same<bool>(file.tensor("mask"), list[0].second);
  check_same<float>(file.tensor("w"), w);
  check_same<int64_t>(file.tensor("index"), list[2].second);
  check_same<float>(file.tensor("empty"), list[3].second);
  check_same<double>(file.tensor("scalar"), list[4].second);
  check_same<float>(file.tensor(list[5].first), list[5].second);
  CHECK(file.find("none") == nullptr);
}

TEST_CASE("safetensors: a strided view is written in row-major order") {
  const Tensor w = tensor({{1, 2, 3}, {4, 5, 6}});
  const std::string bytes = to_safetensors({{"w", alias(w, {3, 2}, {1, 3})}});
  check_same<float>(SafetensorsFile::parse(bytes, "F").tensor("w"),
                    tensor({{1, 4}, {2, 5}, {3, 6}}));
}

TEST_CASE("safetensors: the bytes are as documented, wider types first, data aligned") {
  const std::string bytes =
      to_safetensors({{"m", from_data(std::vector<bool>{true}, {1})}, {"w", tensor({1})}});
  const std::string header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                             R"("m":{"dtype":"BOOL","shape":[1],"data_offsets":[4,5]}})";
  const std::size_t padded = (header.size() + 7) / 8 * 8;
  std::string expected = file_of(header + std::string(padded - header.size(), ' '), 0);
  expected += std::string("\0\0\x80\x3f\x01", 5);
  CHECK(bytes == expected);
  CHECK(SafetensorsFile::parse(to_safetensors({}), "F").entries().empty());
}

TEST_CASE("safetensors: what cannot be written") {
  const Tensor x = tensor({1});
  CHECK(message_of<ValueError>([&] {
          to_safetensors({{"x", x}, {"x", x}});
        }) == "safetensors: name 'x': must be unique and not reserved");
  CHECK(message_of<ValueError>([&] {
          to_safetensors({{"__metadata__", x}});
        }) == "safetensors: name '__metadata__': must be unique and not reserved");
  CHECK(message_of<ValueError>([&] {
          to_safetensors({{"\xff", x}});
        }).find("is not valid UTF-8") != std::string::npos);
}

TEST_CASE("safetensors: a truncated file is an error") {
  const std::string whole = to_safetensors({{"w", tensor({{1, 2}, {3, 4}})}, {"b", tensor({5})}});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string message = refusal(whole.substr(0, size));
    CHECK_MESSAGE(message.rfind("safetensors: F: ", 0) == 0, message);
  }
  CHECK(refusal("1234567") ==
        "safetensors: F: 7 bytes: must begin with the 8 bytes of the header's length");
  CHECK(refusal(whole.substr(0, 100)) ==
        "safetensors: F: a header of 112 bytes in a file of 100: the file is cut off");
  CHECK(refusal(whole.substr(0, whole.size() - 1)) ==
        "safetensors: F: 'b': ends at byte 20 of 19: the file is cut off");
  CHECK(refusal(whole + "x") == "safetensors: F: 1 bytes at the end belong to no entry");
}

TEST_CASE("safetensors: invalid headers") {
  CHECK(refusal("\xff\xff\xff\xff\xff\xff\xff\xff") ==
        "safetensors: F: a header of 18446744073709551615 bytes: at most 100000000 are allowed");
  CHECK(refusal(file_of("[]", 0)) == "safetensors: F: the header is not a JSON object");
  CHECK(refusal(file_of("{\"w\":", 0)).find("F: the header is not valid JSON: ") !=
        std::string::npos);
  CHECK(refusal(file_of("{} {}", 0)).find("not valid JSON") != std::string::npos);
  CHECK(refusal(file_of("{\"\xff\":{}}", 0)).find("not valid JSON") != std::string::npos);
  CHECK(refusal(file_of(R"({"w":1})", 0)) == "safetensors: F: 'w' is not an object");
  CHECK(refusal(file_of(R"({"__metadata__":[]})", 0)) ==
        "safetensors: F: '__metadata__' is not an object");
  CHECK(refusal(file_of(R"({"__metadata__":{"k":1}})", 0)) ==
        "safetensors: F: '__metadata__': 'k' is not a string");
}

TEST_CASE("safetensors: names that occur twice") {
  const std::string w = R"("w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  CHECK(refusal(file_of("{" + w + "," + w + "}", 1)) ==
        "safetensors: F: 'w': the name occurs twice");
  CHECK(refusal(file_of(R"({"__metadata__":{"k":"1","k":"2"}})", 0)) ==
        "safetensors: F: 'k': the name occurs twice");
  CHECK(refusal(entry(R"("dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1])", 1)) ==
        "safetensors: F: 'dtype': the name occurs twice");
}

TEST_CASE("safetensors: invalid entries") {
  CHECK(refusal(entry(R"("shape":[1],"data_offsets":[0,1])", 1)) ==
        "safetensors: F: 'w': dtype is missing");
  CHECK(refusal(entry(R"("dtype":"U8","data_offsets":[0,1])", 1)) ==
        "safetensors: F: 'w': shape is missing");
  CHECK(refusal(entry(R"("dtype":"U8","shape":[1])", 1)) ==
        "safetensors: F: 'w': data_offsets is missing");
  CHECK(refusal(entry(R"("dtype":1,"shape":[1],"data_offsets":[0,1])", 1)) ==
        "safetensors: F: 'w': dtype is not a string");
  CHECK(refusal(entry(R"("dtype":"U8","shape":1,"data_offsets":[0,1])", 1)) ==
        "safetensors: F: 'w': shape is not an array");
  CHECK(refusal(entry(R"("dtype":"U8","shape":[1],"data_offsets":[0])", 1)) ==
        "safetensors: F: 'w': data_offsets is not an array of two numbers");
  CHECK(refusal(entry(R"("dtype":"U9","shape":[1],"data_offsets":[0,1])", 1)) ==
        "safetensors: F: 'w': unknown dtype U9");
  for (const std::string bad : {"-1", "1.5", "\"1\"", "9223372036854775808", "null"})
    CHECK(refusal(entry(R"("dtype":"U8","shape":[)" + bad + R"(],"data_offsets":[0,1])", 1)) ==
          "safetensors: F: 'w': shape holds " + bad + ": must be an integer from 0 to 2^63 - 1");
  CHECK(refusal(entry(R"("dtype":"U8","shape":[1],"data_offsets":[-1,0])", 1)) ==
        "safetensors: F: 'w': data_offsets holds -1: must be an integer from 0 to 2^63 - 1");
}

namespace {

// Every kind of entry, a text that needs escapes, and a name that imitates a checksum.
std::string with_checksums() {
  return to_safetensors({{"w", tensor({{1, 2, 3}, {4, 5, 6}})},
                         {"empty", zeros({0, 4})},
                         {"scalar", scalar(0.1, DType::f64)},
                         {"mask", from_data(std::vector<bool>{true, false, true}, {3})},
                         {R"(fovea.xxh64.header":"0)", tensor({7})}},
                        {{"vocab", R"("fovea.xxh64.header":"0123456789abcdef")"}},
                        {.checksums = true});
}

void read_all(const std::string& bytes) {
  const SafetensorsFile file = SafetensorsFile::parse(bytes, "F");
  for (const SafetensorsEntry& e : file.entries()) file.tensor(e.name);
}

}  // namespace

TEST_CASE("safetensors: with checksums, any flipped bit of a file is detected") {
  const std::string whole = with_checksums();
  read_all(whole);
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      const std::string message = message_of<FormatError>([&] { read_all(flipped); });
      CHECK_MESSAGE(message.rfind("safetensors: F: ", 0) == 0, "byte ", i, " bit ", bit, message);
    }
}

TEST_CASE("safetensors: checksums are in the metadata of the file, not in metadata()") {
  const std::string whole = with_checksums();
  const SafetensorsFile file = SafetensorsFile::parse(whole, "F");
  CHECK(file.metadata() == Metadata{{"vocab", R"("fovea.xxh64.header":"0123456789abcdef")"}});
  CHECK(file.find("w")->checksum.size() == 16);
  std::uint64_t size = 0;
  std::memcpy(&size, whole.data(), 8);
  const auto header = nlohmann::json::parse(whole.substr(8, size));
  for (const auto& [key, value] : header["__metadata__"].items()) CHECK(value.is_string());
  CHECK(header["__metadata__"]["fovea.xxh64.tensors"].get<std::string>().size() == 5 * 16);
}

TEST_CASE("safetensors: errors name a damaged tensor and a damaged header") {
  std::string bytes =
      to_safetensors({{"a", tensor({1})}, {"b", tensor({2})}}, {{"k", "v"}}, {.checksums = true});
  std::string flipped = bytes;
  flipped.back() = static_cast<char>(flipped.back() ^ 64);
  const SafetensorsFile file = SafetensorsFile::parse(flipped, "F");
  file.tensor("a");
  CHECK(message_of<FormatError>([&] {
          file.tensor("b");
        }).rfind("safetensors: F: the checksum of 'b' is ", 0) == 0);
  bytes.replace(bytes.find(R"("k":"v")"), 7, R"("k":"w")");
  CHECK(refusal(bytes).rfind("safetensors: F: the header's checksum is ", 0) == 0);
}

TEST_CASE("safetensors: a file without checksums is read, one with only one of the two is not") {
  std::string bytes = with_checksums();
  const auto rename = [&](const std::string& key) {
    const std::size_t at = bytes.find('"' + key + '"');  // in texts its quotes are escaped
    bytes.replace(at + 1, key.size(), std::string(key.size(), 'x'));
  };
  rename("fovea.xxh64.tensors");
  CHECK(refusal(bytes) ==
        "safetensors: F: the metadata has 'fovea.xxh64.header' without 'fovea.xxh64.tensors': must "
        "have both or neither");
  rename("fovea.xxh64.header");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  read_all(bytes);
  bytes = with_checksums();
  rename("fovea.xxh64.header");
  CHECK(refusal(bytes).rfind("safetensors: F: the metadata has 'fovea.xxh64.tensors' without ",
                             0) == 0);
}

// Deep enough to overflow the stack of a recursive parser.
TEST_CASE("safetensors: a deeply nested value is an error like any other") {
  constexpr std::size_t depth = 1'000'000;
  const std::string nested = std::string(depth, '[') + std::string(depth, ']');
  const std::string rule = "safetensors: F: the header is nested more than 8 deep";
  CHECK(refusal(entry(R"("dtype":"U8","shape":[)" + nested + R"(],"data_offsets":[0,1])", 1)) ==
        rule);
  CHECK(refusal(entry(R"("dtype":"U8","shape":[1],"data_offsets":[0,)" + nested + "]", 1)) == rule);
  CHECK(refusal(entry(R"("dtype":"U8","shape":[[]],"data_offsets":[0,1])", 1)) ==
        "safetensors: F: 'w': shape holds array: must be an integer from 0 to 2^63 - 1");
}

TEST_CASE("safetensors: shapes and byte ranges that do not match") {
  CHECK(refusal(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", 4)) ==
        "safetensors: F: 'w': data_offsets [0, 4]: F32 of shape (2) needs 8 bytes");
  CHECK(refusal(entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", 4)) ==
        "safetensors: F: 'w': data_offsets [4, 0]: F32 of shape (1) needs 4 bytes");
  CHECK(
      refusal(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", 0)) ==
      "safetensors: F: 'w': shape (4294967296, 4294967296) has more than 2^63 bytes");
  CHECK(refusal(entry(R"("dtype":"U8","shape":[2],"data_offsets":[0,2])", 1)) ==
        "safetensors: F: 'w': ends at byte 2 of 1: the file is cut off");
  const auto two = [](const std::string& a, const std::string& b, std::size_t bytes) {
    return refusal(file_of(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)" + a +
                               R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + b + "}}",
                           bytes));
  };
  CHECK(two("[0,2]", "[1,3]", 3) == "safetensors: F: 'b' overlaps 'a'");
  CHECK(two("[0,2]", "[0,2]", 2) == "safetensors: F: 'b' overlaps 'a'");
  CHECK(two("[0,2]", "[3,5]", 5) ==
        "safetensors: F: 'b': bytes 2 to 3 before it belong to no entry");
  CHECK(two("[2,4]", "[4,6]", 6) ==
        "safetensors: F: 'a': bytes 0 to 2 before it belong to no entry");
  CHECK(two("[2,4]", "[0,2]", 4) == "no error");
}

TEST_CASE("safetensors: reading a type that Tensor does not support is an error") {
  for (const std::string dtype : {"F16", "BF16", "I16", "U16"}) {
    const SafetensorsFile file = SafetensorsFile::parse(
        entry("\"dtype\":\"" + dtype + R"(","shape":[1],"data_offsets":[0,2])", 2), "F");
    CHECK(file.entries()[0].dtype == dtype);
    CHECK(message_of<DTypeError>([&] { file.tensor("w"); }) ==
          "safetensors: F: 'w' is " + dtype + ": a tensor holds F32, F64, I64 or BOOL");
  }
}

TEST_CASE("safetensors: entries that do not fit into a tensor") {
  std::string bytes = entry(R"("dtype":"BOOL","shape":[1],"data_offsets":[0,1])", 1);
  bytes.back() = 2;
  const SafetensorsFile file = SafetensorsFile::parse(bytes, "F");
  CHECK(message_of<FormatError>([&] { file.tensor("w"); }) ==
        "safetensors: F: 'w': a BOOL must be 0 or 1");
  CHECK(message_of<StateError>([&] { file.tensor("v"); }) ==
        "safetensors: F: 'v' is not in the file");
  const SafetensorsFile deep = SafetensorsFile::parse(
      entry(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4])", 4), "F");
  CHECK(message_of<ShapeError>([&] { deep.tensor("w"); }) ==
        "safetensors: F: 'w' has 9 axes: a tensor has at most 8");
}

TEST_CASE("safetensors: the cost of a header is linear in its size") {
  std::string header = "{";
  for (int i = 0; i < 50'000; ++i)
    header += fmt::format(R"({}"k{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})",
                          i == 0 ? "" : ",", i);
  CHECK(SafetensorsFile::parse(file_of(header + "}", 0), "F").entries().size() == 50'000);
  for (const char* open : {"[", R"({"a":)"}) {
    std::string nested;
    for (int i = 0; i < 1'000'000; ++i) nested += open;
    CHECK(refusal(file_of(nested, 0)) == "safetensors: F: the header is nested more than 8 deep");
  }
  std::string many = R"({"w":{"shape":[0)";
  for (int i = 0; i < 1 << 22; ++i) many += ",0";
  CHECK(refusal(file_of(many + "]}}", 0)) ==
        "safetensors: F: the header has more than 4194304 values");
}

TEST_CASE("safetensors: files written by other programs load") {
  const char* data = std::getenv("FOVEA_DATA");
  if (!data) return test::skip("FOVEA_DATA is not set");
  const auto folder = std::filesystem::path(data) / "checkpoints";
  if (!std::filesystem::is_directory(folder)) return test::skip(folder.string() + " is missing");
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    if (item.path().extension() != ".safetensors") continue;
    const SafetensorsFile file = SafetensorsFile::read(item.path());
    NamedTensors list;
    for (const SafetensorsEntry& e : file.entries()) list.emplace_back(e.name, file.tensor(e.name));
    CHECK(list.size() > 10);
    const std::string again = to_safetensors(list, file.metadata());
    CHECK(to_safetensors(list, SafetensorsFile::parse(again, "copy").metadata()) == again);
  }
}
