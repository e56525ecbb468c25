// Where each token looked.
#pragma once

#include <filesystem>

#include "speaker.h"

/// The attention of every layer and head while the text was said, as a page to explore.
void write_looks(const Speaker& speaker, const Speech& speech, const std::filesystem::path& path);
