// gzip: reading compressed files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fovea::nn::data {

/// The contents of a gzip file: of all its members, one after another, as gunzip has it (RFC 1952,
/// section 2.2). `name` stands for the file in errors. FormatError where the bytes are no gzip, end
/// too early, do not have the checksum that they claim, or unpack to more than gunzip_limit()
/// bytes.
std::string gunzip(std::string_view bytes, std::string_view name);

/// The most bytes that `packed` bytes may unpack to: 1 MiB + 100 * packed. Text takes 3 to 20 times
/// its packed size; a file made to fill the memory up to 1,030 times.
std::size_t gunzip_limit(std::size_t packed);

}  // namespace fovea::nn::data
