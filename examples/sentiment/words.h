// Tokenization of English as in the Stanford Sentiment Treebank.
#pragma once

#include <fovea/nn/data/text.h>

/// "A well-made film; it isn't dull!" -> a well made film ; it is n't dull !
/// ASCII letters become lower case; punctuation at the start or end of a word is a separate word
/// (consecutive full stops are one word); clitics ('s, n't, 'll, ...) are separate words; hyphens
/// become spaces. Text that is already tokenized does not change.    Rule for clitics: Marcus et
/// al. 1993, Building a Large Annotated Corpus of English.
fovea::nn::data::Tokens words_of(std::string_view line);
