// Dropout factors for a strip of queries, and the vector types of strips, in compiler vector
// extensions as in gemm_simd.cpp. For attention_simd.cpp only.
#pragma once

#include <fovea/core/kernels/philox.h>

#include <cstdint>
#include <immintrin.h>
#include <utility>

namespace fovea::kernels::FOVEA_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T, int kBytes = kVectorBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <class T>
constexpr int kWidth = 2 * kLanes<T>;

template <class V, class T>
inline V load_as(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class T>
inline Vec<T> load(const T* p) {
  return load_as<Vec<T>>(p);
}
template <class V, class T>
inline void store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

// ---- Dropout -----------------------------------------------------------------------------------

// Philox blocks for the queries of a strip, one 64-bit lane each because of the products. The upper
// half of a lane is ignored: products read lower halves.
template <class T>
constexpr int kBlocks = kWidth<T> / 4;
template <class T>
using Blocks = typename VectorOf<uint64_t, 8 * kBlocks<T>>::type;

// GCC 12 makes a full 64-bit product of `(a & low) * b`. With this one, and four independent keys
// at once, the words of a strip take 6.5 ns instead of 14.
template <class B>
inline B low_product(B a, B b) {
  if constexpr (sizeof(B) == 16)
    return reinterpret_cast<B>(
        _mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#if defined(__AVX2__)
  if constexpr (sizeof(B) == 32)
    return reinterpret_cast<B>(
        _mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#endif
#if defined(__AVX512F__)
  if constexpr (sizeof(B) == 64)
    return reinterpret_cast<B>(
        _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#endif
  return (a & 0xFFFFFFFF) * b;
}

struct RoundKeys {
  uint64_t first[10], second[10];
  explicit RoundKeys(uint64_t seed) {
    auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
      first[round] = key0;
      second[round] = key1;
    }
  }
};

// The words of the blocks in query order, from words 0 and 1, and 2 and 3, of each block: two
// halves of a strip.
template <int kHigh, class B, int... I>
inline B interleaved(B a, B b, std::integer_sequence<int, I...>) {
  constexpr int n = sizeof...(I);
  return __builtin_shufflevector(a, b, (kHigh * n / 2 + I / 2 + (I % 2) * n)...);
}
template <class B>
inline void store_words(B a, B b, uint32_t* words) {
  constexpr int n = sizeof(B) / 8;
  if constexpr (n == 1) {
    store(words, a);
    store(words + 2, b);
  } else {
    using Lanes = std::make_integer_sequence<int, n>;
    store(words, interleaved<0>(a, b, Lanes{}));
    store(words + 2 * n, interleaved<1>(a, b, Lanes{}));
  }
}

// The words of a strip for kKeys keys, whose blocks are `step` apart.
template <class T, int kKeys>
inline void philox_strips(const RoundKeys& keys, uint64_t stream, uint64_t block, uint64_t step,
                          uint32_t* words) {
  using B = Blocks<T>;
  constexpr uint64_t low = 0xFFFFFFFF;
  const B factor0 = 0xD2511F53 + B{}, factor1 = 0xCD9E8D57 + B{};
  B lane;
  for (int b = 0; b < kBlocks<T>; ++b) lane[b] = static_cast<uint64_t>(b);
  B c0[kKeys], c1[kKeys], c2[kKeys], c3[kKeys];
#pragma GCC unroll 4
  for (int k = 0; k < kKeys; ++k) {
    c0[k] = block + static_cast<uint64_t>(k) * step + lane;
    c1[k] = c0[k] >> 32;
    c2[k] = stream + B{};
    c3[k] = (stream >> 32) + B{};
  }
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 4
    for (int k = 0; k < kKeys; ++k) {
      const B product0 = low_product(c0[k], factor0), product1 = low_product(c2[k], factor1);
      c0[k] = (product1 >> 32) ^ c1[k] ^ keys.first[round];
      c1[k] = product1;
      c2[k] = (product0 >> 32) ^ c3[k] ^ keys.second[round];
      c3[k] = product0;
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < kKeys; ++k)
    store_words<B>((c0[k] & low) | (c1[k] << 32), (c2[k] & low) | (c3[k] << 32),
                   words + k * kWidth<T>);
}

template <class T, int kKeys>
inline void drop_keys(const RoundKeys& keys, uint64_t stream, uint64_t block, uint64_t step,
                      int32_t threshold, T kept, T* drop) {
  alignas(64) uint32_t words[kKeys * kWidth<T>];
  philox_strips<T, kKeys>(keys, stream, block, step, words);
#pragma omp simd
  for (int j = 0; j < kKeys * kWidth<T>; ++j)
    drop[j] = static_cast<int32_t>(words[j] >> 8) < threshold ? 0 : kept;
}

template <class T>
void dropout(int64_t n, const PhiloxOrigin& origin, uint64_t block, uint64_t blocks_per_key,
             int32_t threshold, T kept, T* drop) {
  const RoundKeys keys(origin.seed);
  const uint64_t stream = origin.stream;
  block += origin.block;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4, block += 4 * blocks_per_key)
    drop_keys<T, 4>(keys, stream, block, blocks_per_key, threshold, kept, drop + i * kWidth<T>);
  for (; i < n; ++i, block += blocks_per_key)
    drop_keys<T, 1>(keys, stream, block, blocks_per_key, threshold, kept, drop + i * kWidth<T>);
}

}  // namespace
}  // namespace fovea::kernels::FOVEA_ISA
