// Sentences of a small grammar: endless training text, and a judge of what a model says.
//
// Verbs agree with their subjects, also across a clause between them ("the cats that the dog sees
// sleep."): the model has to look back to the right noun.
#pragma once

#include <fovea/core/random.h>

#include <string>
#include <string_view>

std::string made_up_sentence(fovea::Rng& rng);  // "a small fox sleeps here."

/// Whether the grammar makes this sentence.
bool is_sentence(std::string_view text);
