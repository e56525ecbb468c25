// Cutting English into words as the sentiment treebank has them.
#pragma once

#include <fovea/nn/data/text.h>

/// "A well-made film; it isn't dull!" -> a well made film ; it is n't dull !
/// ASCII letters become small; punctuation at a word's ends stands alone, but for full stops in a
/// row; clitics ('s, n't, 'll, ...) are words of their own; hyphens are blanks. Text that is cut
/// already stays as it is.    Marcus et al. 1993, Building a Large Annotated Corpus of English, has
/// the clitics' rule.
fovea::nn::data::Tokens words_of(std::string_view line);
