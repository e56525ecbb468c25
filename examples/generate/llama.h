// Models with the Llama architecture: stories260K, trained on children's stories.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "language_model.h"

/// The files of a directory that load_llama() and check_llama() may read; none for "".
std::vector<std::filesystem::path> llama_files(const std::filesystem::path& folder);

/// Reads DIR/stories260K.safetensors and DIR/tok512.bin, or those in DIR/checkpoints.
LanguageModel load_llama(const std::filesystem::path& folder);

/// Compares with stories260K.reference.txt in the directory of the weights, written by another
/// implementation: Error unless all logits are within 1e-4 and the greedy tokens are equal. Returns
/// a summary.
std::string check_llama(const LanguageModel& model, const std::filesystem::path& folder);
