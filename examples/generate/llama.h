// Models in the form of Llama: stories260K, which was trained on children's stories.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "speaker.h"

/// The files of a folder that load_llama() and check_llama() may read; none for "".
std::vector<std::filesystem::path> llama_files(const std::filesystem::path& folder);

/// Reads DIR/stories260K.safetensors and DIR/tok512.bin, or those in DIR/checkpoints.
Speaker load_llama(const std::filesystem::path& folder);

/// Compares with stories260K.reference.txt beside the weights, made by another program: Error
/// unless all its logits are within 1e-4 and its greedy tokens are the same. Says what it found.
std::string check_llama(const Speaker& speaker, const std::filesystem::path& folder);
