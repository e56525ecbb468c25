// gzip: reading compressed files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fovea::nn::data {

/// The contents of a gzip file: all its members concatenated, as gunzip does (RFC 1952, section
/// 2.2). `name` is the file name in errors. FormatError if the bytes are not gzip, are truncated,
/// have a wrong checksum, or decompress to more than gunzip_limit() bytes.
std::string gunzip(std::string_view bytes, std::string_view name);

/// The limit of the decompressed size of `packed` bytes: 1 MiB + 100 * packed. Text takes 3 to 20
/// times its compressed size; a decompression bomb up to 1,030 times.
std::size_t gunzip_limit(std::size_t packed);

}  // namespace fovea::nn::data
