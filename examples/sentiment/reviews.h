// The built-in reviews: English sentences in families, one sentence pattern per family.
//
// No family is in two splits: memorizing sentences, or knowing which words are positive, is not
// enough for the patterns of the held-out families.
#pragma once

#include <span>
#include <string_view>

struct ReviewFamily {
  std::string_view pattern;
  /// One sentence per line: "+ " or "- ", then the text. Half of them are positive.
  std::string_view lines;
};

std::span<const ReviewFamily> training_reviews();    // 22 families, 352 sentences
std::span<const ReviewFamily> validation_reviews();  // 4 families, 56 sentences
std::span<const ReviewFamily> test_reviews();        // 6 families, 96 sentences
