// Sentences of a small grammar: unlimited training text, and a check of generated text.
//
// Verbs agree with their subjects, also across a relative clause ("the cats that the dog sees
// sleep."): the model has to attend to the right noun.
#pragma once

#include <fovea/core/random.h>

#include <string>
#include <string_view>

std::string random_sentence(fovea::Rng& rng);  // "a small fox sleeps here."

/// Whether the grammar generates this sentence.
bool is_sentence(std::string_view text);
