// safetensors: a file format for exchanging weights between frameworks.
//
//   8 bytes: length of the header, little endian | header: JSON | the tensors' bytes, back to back
//   {"__metadata__": {"key": "text"},
//    "name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
//
// https://github.com/huggingface/safetensors, "Format". The whole file must be consistent: every
// byte belongs to exactly one entry, and every size matches its dtype and shape.
//
// save() adds two strings to the metadata, which other readers ignore:
//
//   "fovea.xxh64.tensors": checksum() of each tensor's bytes, 16 hex digits, in order of the data
//   "fovea.xxh64.header": checksum() of all bytes before the data, with these 16 digits as zeros
//
// If a file has them, the header is verified at once and each tensor when it is read; a file
// without them is read unverified. A program that changes such a file must remove both.
#pragma once

#include <fovea/core/state.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace fovea {

struct SafetensorsEntry {
  std::string name;
  std::string dtype;  ///< as in the file: "F32", "BF16"; a Tensor can hold F32, F64, I64 and BOOL
  std::vector<std::int64_t> shape;
  std::size_t begin = 0, end = 0;  ///< its byte range, relative to the end of the header
  std::string checksum = {};       ///< 16 hex digits; empty: the file has no checksums
};

class SafetensorsFile {
 public:
  /// Reads and checks a whole file. FormatError names the file, the entry and the rule.
  static SafetensorsFile read(const std::filesystem::path& path);
  /// The same from memory; `source` replaces the file's name in messages.
  static SafetensorsFile parse(std::string bytes, std::string source);

  const std::string& source() const { return source_; }
  const Metadata& metadata() const { return metadata_; }  ///< without the checksums
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }  ///< in byte order
  const SafetensorsEntry* find(std::string_view name) const;                 ///< null if missing

  /// A copy of an entry's values. DTypeError for a dtype that Tensor does not support, StateError
  /// for a name that is not in the file, FormatError for bytes that do not match their checksum.
  Tensor tensor(std::string_view name) const;

 private:
  SafetensorsFile() = default;

  std::string source_;
  std::string bytes_;
  std::size_t data_begin_ = 0;
  Metadata metadata_;
  std::vector<SafetensorsEntry> entries_;
};

struct SafetensorsOptions {
  bool checksums = false;  ///< in the metadata, as above
};

/// The bytes of a file. Wider types come first, so that every tensor is aligned; otherwise in the
/// order of the list. ValueError for a name that occurs twice.
std::string to_safetensors(const NamedTensors& tensors, const Metadata& metadata = {},
                           SafetensorsOptions options = {});

/// "F32" for f32, and so on.
std::string_view safetensors_dtype(DType dtype);

}  // namespace fovea
