// The memory of reading a text, as multiples of its size: counted in operator new.
#include <fovea/nn/data/text.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <malloc.h>
#include <new>
#include <sstream>
#include <string>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea::nn::data;
namespace fs = std::filesystem;

namespace {

std::atomic<std::size_t> live_bytes = 0, peak_bytes = 0;

void* counted(void* memory) {
  if (!memory) throw std::bad_alloc();
  const std::size_t now = live_bytes += malloc_usable_size(memory);
  if (now > peak_bytes) peak_bytes = now;
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return counted(std::malloc(size)); }
void operator delete(void* memory) noexcept {
  if (memory) live_bytes -= malloc_usable_size(memory);
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace {

// The most bytes that were allocated at once while `use` ran.
template <class F>
double peak_of(const F& use) {
  const std::size_t before = live_bytes;
  peak_bytes = before;
  use();
  return static_cast<double>(peak_bytes - before);
}

double multiple(const std::string& text) {
  const fs::path path =
      fs::temp_directory_path() / ("fovea_text_memory_" + std::to_string(::getpid()));
  std::ofstream(path, std::ios::binary) << text;
  const double peak = peak_of([&] { read_lines(path); });
  fs::remove(path);
  return peak / static_cast<double>(text.size());
}

std::string repeated(const std::string& line, std::size_t size) {
  std::string text;
  while (text.size() < size) text += line;
  return text;
}

}  // namespace

TEST_CASE("text memory: a line of 50 MB takes the text and the line") {
  CHECK(multiple(std::string(50'000'000, 'x')) < 2.01);
  CHECK(multiple(std::string(25'000'000, 'x') + '\n' + std::string(25'000'000, 'y')) < 2.01);
}

TEST_CASE("text memory: lines take 32 bytes each plus their characters") {
  CHECK(multiple(std::string(5'000'000, '\n')) < 33.01);
  CHECK(multiple(repeated("0123456789\n", 5'000'000)) < 5);
  CHECK(multiple(repeated(std::string(99, 'x') + '\n', 5'000'000)) < 2.5);
}

TEST_CASE("text memory: a stream takes no more than a file, but for the text's growth") {
  std::istringstream in(std::string(5'000'000, '\n'));
  const double peak = peak_of([&] { read_lines(in, "text"); });
  CHECK(peak / 5e6 < 36);
}
