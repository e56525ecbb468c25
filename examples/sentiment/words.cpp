#include "words.h"

#include <algorithm>
#include <array>

namespace data = fovea::nn::data;

namespace {

constexpr std::string_view opening = "\"([{", closing = "\".,;:!?)]}";
constexpr std::array<std::string_view, 7> clitics = {"n't", "'s", "'re", "'ve", "'ll", "'d", "'m"};

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

std::string plain(std::string_view line) {
  std::string text(line);
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  replace_all(text, "’", "'");
  replace_all(text, "“", "\"");
  replace_all(text, "”", "\"");
  replace_all(text, "…", "...");
  for (const char* dash : {"—", "–", "-"}) replace_all(text, dash, " ");
  return text;
}

// The punctuation at the end of a word: consecutive full stops, or one character. "'" ends a
// quotation, but "'" alone or at the front may belong to a clitic.
std::string_view ending_of(std::string_view word) {
  const std::size_t dots = word.size() - (word.find_last_not_of('.') + 1);
  if (dots > 0) return word.substr(word.size() - dots);
  if (closing.find(word.back()) != std::string_view::npos) return word.substr(word.size() - 1);
  return {};
}

void add_without_clitic(std::string_view word, data::Tokens& words) {
  for (const std::string_view clitic : clitics)
    if (word.size() > clitic.size() && word.ends_with(clitic)) {
      words.emplace_back(word.substr(0, word.size() - clitic.size()));
      words.emplace_back(clitic);
      return;
    }
  if (!word.empty()) words.emplace_back(word);
}

void add_words(std::string_view chunk, data::Tokens& words) {
  while (!chunk.empty() && opening.find(chunk.front()) != std::string_view::npos) {
    words.emplace_back(chunk.substr(0, 1));
    chunk.remove_prefix(1);
  }
  data::Tokens endings;
  while (!chunk.empty()) {
    const std::string_view ending = ending_of(chunk);
    if (ending.empty()) break;
    endings.emplace_back(ending);
    chunk.remove_suffix(ending.size());
  }
  add_without_clitic(chunk, words);
  words.insert(words.end(), endings.rbegin(), endings.rend());
}

}  // namespace

data::Tokens words_of(std::string_view line) {
  data::Tokens words;
  for (const std::string& chunk : data::tokenize(plain(line), data::Unit::words))
    add_words(chunk, words);
  return words;
}
