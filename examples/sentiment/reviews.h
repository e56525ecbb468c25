// The built-in reviews: English sentences in families, a sentence pattern each.
//
// No family is in two splits: who learns sentences by heart, or which words are friendly, has
// learned nothing about how the held-out families put the same words together.
#pragma once

#include <span>
#include <string_view>

struct ReviewFamily {
  std::string_view pattern;
  /// A sentence a line: "+ " or "- ", then the text. Half of them are positive.
  std::string_view lines;
};

std::span<const ReviewFamily> training_reviews();    // 22 families, 352 sentences
std::span<const ReviewFamily> validation_reviews();  // 4 families, 56 sentences
std::span<const ReviewFamily> test_reviews();        // 6 families, 96 sentences
