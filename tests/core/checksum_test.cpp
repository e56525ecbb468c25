#include <fovea/core/checksum_detail.h>

#include <set>
#include <string>

#include <doctest/doctest.h>

using fovea::checksum;

namespace {

std::string bytes_up_to(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes.push_back(static_cast<char>(i % 256));
  return bytes;
}

}  // namespace

TEST_CASE("checksum: the values of the reference implementation, xxHash 0.8.1") {
  CHECK(checksum("") == 0xef46db3751d8e999);
  CHECK(checksum("a") == 0xd24ec4f1a98c6e5b);
  CHECK(checksum("abc") == 0x44bc2cf5ad770999);
  CHECK(checksum(bytes_up_to(31)) == 0xc346d2b59b4d8ee1);
  CHECK(checksum(bytes_up_to(32)) == 0xcbf59c5116ff32b4);
  CHECK(checksum(bytes_up_to(33)) == 0x0c535d1acafb8ead);
  CHECK(checksum(bytes_up_to(47)) == 0x0d9883a03e7bfbb8);
  CHECK(checksum(bytes_up_to(1291)) == 0xcd1d66ea0fd84bdb);
}

TEST_CASE("checksum: any flipped bit changes it, at every position of every kind of step") {
  const std::string whole = bytes_up_to(95);  // stripes, words, half a word and single bytes
  std::set<std::uint64_t> seen{checksum(whole)};
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      CHECK(seen.insert(checksum(flipped)).second);
    }
}

TEST_CASE("checksum: it depends on the length") {
  std::set<std::uint64_t> seen;
  for (std::size_t size = 0; size < 100; ++size)
    CHECK(seen.insert(checksum(std::string(size, '\0'))).second);
}
