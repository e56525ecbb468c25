// gzip: reading compressed files.
#pragma once

#include <string>
#include <string_view>

namespace fovea::nn::data {

/// The contents of a gzip file: of all its members, one after another, as gunzip has it (RFC 1952,
/// section 2.2). `name` stands for the file in errors. FormatError where the bytes are no gzip, end
/// too early, or do not have the checksum that they claim.
std::string gunzip(std::string_view bytes, std::string_view name);

}  // namespace fovea::nn::data
