// Whole files in and out, so that a reader never sees half a file.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace fovea {

/// The bytes of a file. Error names the path and what the system said.
std::string read_file(const std::filesystem::path& path);

/// Replaces or makes `path`: afterwards it holds all of `bytes`, also after a power cut, or (Error)
/// what it held before. Writes a temporary file in the same folder, syncs it and renames it.
/// Of a symbolic link the target is replaced; a device or a pipe is written to as it is.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

}  // namespace fovea
