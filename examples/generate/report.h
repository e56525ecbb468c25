// Report of the attention weights.
#pragma once

#include <filesystem>

#include "language_model.h"

/// Writes the attention weights of every layer and head for the text, as an interactive page.
void write_attention(const LanguageModel& model, const Generation& generated,
                     const std::filesystem::path& path);
