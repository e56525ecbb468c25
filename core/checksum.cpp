#include <fovea/core/checksum_detail.h>

#include <bit>
#include <cstring>

namespace fovea {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as little endian");

constexpr std::uint64_t p1 = 0x9E3779B185EBCA87, p2 = 0xC2B2AE3D27D4EB4F, p3 = 0x165667B19E3779F9,
                        p4 = 0x85EBCA77C2B2AE63, p5 = 0x27D4EB2F165667C5;

// Removes a word from the front of `bytes`.
template <class Word>
std::uint64_t take(std::string_view& bytes) {
  Word word;
  std::memcpy(&word, bytes.data(), sizeof word);
  bytes.remove_prefix(sizeof word);
  return word;
}

std::uint64_t mixed(std::uint64_t lane, std::uint64_t word) {
  return std::rotl(lane + word * p2, 31) * p1;
}

// Stripes of 32 bytes, one word per lane.
std::uint64_t lanes_of(std::string_view& bytes) {
  std::uint64_t a = p1 + p2, b = p2, c = 0, d = 0 - p1;
  while (bytes.size() >= 32) {
    a = mixed(a, take<std::uint64_t>(bytes));
    b = mixed(b, take<std::uint64_t>(bytes));
    c = mixed(c, take<std::uint64_t>(bytes));
    d = mixed(d, take<std::uint64_t>(bytes));
  }
  std::uint64_t hash = std::rotl(a, 1) + std::rotl(b, 7) + std::rotl(c, 12) + std::rotl(d, 18);
  for (const std::uint64_t lane : {a, b, c, d}) hash = (hash ^ mixed(0, lane)) * p1 + p4;
  return hash;
}

}  // namespace

std::uint64_t checksum(std::string_view bytes) {
  const std::uint64_t size = bytes.size();
  std::uint64_t hash = size + (size >= 32 ? lanes_of(bytes) : p5);
  while (bytes.size() >= 8)
    hash = std::rotl(hash ^ mixed(0, take<std::uint64_t>(bytes)), 27) * p1 + p4;
  if (bytes.size() >= 4) hash = std::rotl(hash ^ take<std::uint32_t>(bytes) * p1, 23) * p2 + p3;
  while (!bytes.empty()) hash = std::rotl(hash ^ take<std::uint8_t>(bytes) * p5, 11) * p1;
  hash = (hash ^ hash >> 33) * p2;
  hash = (hash ^ hash >> 29) * p3;
  return hash ^ hash >> 32;
}

}  // namespace fovea
