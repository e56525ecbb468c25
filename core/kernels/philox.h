// Philox4x32-10: random numbers as a function of a counter. Block n of a sequence is computed from
// n only, in any order and by any thread, so no random state is stored: dropout's backward computes
// the same blocks again.
//
// Salmon, Moraes, Dror, Shaw: "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 3.3.
//
// Everything here is `static inline` (no shared symbol), so that files compiled for several
// instruction sets may use it in their vector loops.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// 128 bits: a counter as input, four random words as output.
struct PhiloxBlock {
  uint32_t word[4];
};

// One round: two 32 x 32 -> 64 bit products; their low halves are passed on, their high halves are
// xored with the other two words and the round's key.
static inline PhiloxBlock philox_round(PhiloxBlock c, uint32_t key0, uint32_t key1) {
  const uint64_t product0 = uint64_t{0xD2511F53} * c.word[0];
  const uint64_t product1 = uint64_t{0xCD9E8D57} * c.word[2];
  return {
      {static_cast<uint32_t>(product1 >> 32) ^ c.word[1] ^ key0, static_cast<uint32_t>(product1),
       static_cast<uint32_t>(product0 >> 32) ^ c.word[3] ^ key1, static_cast<uint32_t>(product0)}};
}

// Ten rounds; the key is incremented in between (golden ratio, sqrt(3) - 1).
static inline PhiloxBlock philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (uint32_t round = 0; round < 10; ++round)
    counter = philox_round(counter, key0 + round * 0x9E3779B9u, key1 + round * 0xBB67AE85u);
  return counter;
}

// A position in a random sequence, as kernels take it: the seed is the key, the stream and the
// block index are the counter.
struct PhiloxOrigin {
  uint64_t seed;
  uint64_t stream;
  uint64_t block;
};

// Words 4i .. 4i + 3 counted from `origin`.
static inline PhiloxBlock philox_block(const PhiloxOrigin& origin, uint64_t i) {
  const uint64_t block = origin.block + i;
  const PhiloxBlock counter = {{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                                static_cast<uint32_t>(origin.stream),
                                static_cast<uint32_t>(origin.stream >> 32)}};
  return philox4x32(counter, static_cast<uint32_t>(origin.seed),
                    static_cast<uint32_t>(origin.seed >> 32));
}

// Blocks i .. i + 31 at once: out[4b + w] is word w of block i + b. The lanes are arrays, the only
// form that compilers vectorize, of 64 bits because of the products. With AVX-512 eight times as
// fast as single blocks.
constexpr int64_t kPhiloxBatch = 32;

static inline void philox_blocks(const PhiloxOrigin& origin, uint64_t i, uint32_t* out) {
  constexpr uint64_t low = 0xFFFFFFFF;
  uint64_t c0[kPhiloxBatch], c1[kPhiloxBatch], c2[kPhiloxBatch], c3[kPhiloxBatch];
  for (int64_t b = 0; b < kPhiloxBatch; ++b) {
    const uint64_t block = origin.block + i + static_cast<uint64_t>(b);
    c0[b] = block & low;
    c1[b] = block >> 32;
    c2[b] = origin.stream & low;
    c3[b] = origin.stream >> 32;
  }
  auto key0 = static_cast<uint32_t>(origin.seed);
  auto key1 = static_cast<uint32_t>(origin.seed >> 32);
  for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
#pragma omp simd
    for (int64_t b = 0; b < kPhiloxBatch; ++b) {
      const uint64_t product0 = 0xD2511F53 * c0[b];
      const uint64_t product1 = 0xCD9E8D57 * c2[b];
      c0[b] = (product1 >> 32) ^ c1[b] ^ key0;
      c1[b] = product1 & low;
      c2[b] = (product0 >> 32) ^ c3[b] ^ key1;
      c3[b] = product0 & low;
    }
  }
#pragma omp simd
  for (int64_t b = 0; b < kPhiloxBatch; ++b) {
    out[4 * b] = static_cast<uint32_t>(c0[b]);
    out[4 * b + 1] = static_cast<uint32_t>(c1[b]);
    out[4 * b + 2] = static_cast<uint32_t>(c2[b]);
    out[4 * b + 3] = static_cast<uint32_t>(c3[b]);
  }
}

}  // namespace fovea::kernels
