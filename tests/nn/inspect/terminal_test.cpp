#include <fovea/nn/inspect/terminal.h>
#include <fovea/tests/nn/inspect/hostile_tokens.h>

#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <string>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea::nn::inspect;

namespace {

// Sets or (without a value) removes an environment variable until the scope ends.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    put(value);
  }
  ~Environment() { put(old_ ? old_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void put(const char* value) { value != nullptr ? setenv(name_, value, 1) : unsetenv(name_); }

  const char* name_;
  std::optional<std::string> old_;
};

// The terminal end of a pseudo-terminal.
class Terminal {
 public:
  Terminal() : descriptor_(posix_openpt(O_RDWR | O_NOCTTY)) { REQUIRE(descriptor_ >= 0); }
  ~Terminal() { close(descriptor_); }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

std::string text_of(const std::string& label) { return visible(label).text; }

}  // namespace

TEST_CASE("terminal: colors need a terminal that supports them and no NO_COLOR") {
  const Terminal terminal;
  const Environment no_colour("NO_COLOR", nullptr), term("TERM", "xterm"),
      kind("COLORTERM", nullptr);
  CHECK(terminal_color(terminal.descriptor()) == Color::palette);
  {
    const Environment truecolor("COLORTERM", "truecolor");
    CHECK(terminal_color(terminal.descriptor()) == Color::rgb);
    const Environment unwanted("NO_COLOR", "1");
    CHECK(terminal_color(terminal.descriptor()) == Color::off);
    const Environment empty("NO_COLOR", "");  // no-color.org: only when not an empty string
    CHECK(terminal_color(terminal.descriptor()) == Color::rgb);
  }
  for (const char* value : {"dumb", static_cast<const char*>(nullptr)}) {
    const Environment dumb("TERM", value);
    CHECK(terminal_color(terminal.descriptor()) == Color::off);
  }
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  CHECK(terminal_color(ends[1]) == Color::off);
  close(ends[0]);
  close(ends[1]);
  CHECK(terminal_color(-1) == Color::off);
}

TEST_CASE("terminal: columns of a label") {
  CHECK(visible("").columns == 0);
  CHECK(visible("zwölf").columns == 5);
  CHECK(visible("日本語").columns == 6);
  CHECK(visible("한국").columns == 4);
  CHECK(visible("😀x").columns == 3);
  CHECK(visible("e\xCC\x81te\xCC\x81").columns == 3);  // letters with combining accents
  CHECK(visible("न्").columns == 1);
  CHECK(visible("a\xE2\x80\x8B\xE2\x80\xAE").columns == 1);  // zero-width space, override
  CHECK(glyphs("e\xCC\x81t").front().text == "e\xCC\x81");
}

TEST_CASE("terminal: labels are made safe and visible") {
  CHECK(text_of("\x1b[31mred\x1b[0m") == "␛[31mred␛[0m");
  CHECK(text_of("\r\n\t\x7F") == "␍␊␉␡");
  CHECK(text_of(std::string(1, '\0')) == "␀");
  CHECK(text_of("\xC2\x9B"
                "31m") == "�31m");  // CSI as one code point
  CHECK(text_of("a\xFF\xE2\x86") == "a���");
  CHECK(text_of("\xEF\xBF\xBE") == "�");
  CHECK(text_of(" ") == "␣");
  CHECK(text_of("  ") == "␣␣");
  CHECK(text_of("a b") == "a b");
  CHECK(text_of("\xCC\x81x") == "◌\xCC\x81x");
}

TEST_CASE("terminal: texts keep their lines and cannot control the terminal") {
  CHECK(terminal_text("two\tcolumns\n next line\n") == "two\tcolumns\n next line\n");
  CHECK(terminal_text("gr\u00fc\u00dfe \u0301\u200d") == "gr\u00fc\u00dfe \u0301\u200d");
  CHECK(terminal_text("\x1b[2J\r\u009b") == "\u241b[2J\u240d\ufffd");
  CHECK(terminal_text("\xff") == "\ufffd");
  for (const std::string& token : fovea::test::hostile_tokens)
    for (const char c : terminal_text(token))
      CHECK((static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t'));
}

TEST_CASE("terminal: a text for a file or a pipe is unchanged") {
  const Terminal terminal;
  const std::string text = "a\x1b[2Jb\xff\n";
  CHECK(terminal_text(text, terminal.descriptor()) == "a\u241b[2Jb\ufffd\n");
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  CHECK(terminal_text(text, ends[1]) == text);
  for (const int end : ends) close(end);
  CHECK(terminal_text(text, -1) == text);
}
