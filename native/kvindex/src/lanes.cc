#include "lanes.h"

#include <algorithm>
#include <bit>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace stator {
namespace {

using Fill = void (*)(uint32_t*, const uint64_t*, size_t, uint32_t);

void fillPlain(uint32_t* lanes, const uint64_t* mask, size_t words, uint32_t value) {
  for (size_t w = 0; w < words; ++w, lanes += 64) {
    uint64_t bits = mask[w];
    if (bits == ~uint64_t{0}) {
      std::fill_n(lanes, 64, value);
      continue;
    }
    for (; bits != 0; bits &= bits - 1) lanes[std::countr_zero(bits)] = value;
  }
}

#if defined(__x86_64__)

__attribute__((target("avx512f"))) void fillAvx512(uint32_t* lanes, const uint64_t* mask, size_t words, uint32_t value) {
  const __m512i filled = _mm512_set1_epi32(static_cast<int>(value));
  for (size_t w = 0; w < words; ++w, lanes += 64) {
    const uint64_t bits = mask[w];
    if (bits == 0) continue;
    for (int part = 0; part < 4; ++part) {
      _mm512_mask_storeu_epi32(lanes + part * 16, static_cast<__mmask16>(bits >> (part * 16)), filled);
    }
  }
}

__attribute__((target("avx2"))) void fillAvx2(uint32_t* lanes, const uint64_t* mask, size_t words, uint32_t value) {
  const __m256i filled = _mm256_set1_epi32(static_cast<int>(value));
  const __m256i bitOfLane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  for (size_t w = 0; w < words; ++w, lanes += 64) {
    const uint64_t bits = mask[w];
    if (bits == 0) continue;
    for (int part = 0; part < 8; ++part) {
      const __m256i byte = _mm256_set1_epi32(static_cast<int>((bits >> (part * 8)) & 0xff));
      const __m256i chosen = _mm256_cmpeq_epi32(_mm256_and_si256(byte, bitOfLane), bitOfLane);
      _mm256_maskstore_epi32(reinterpret_cast<int*>(lanes + part * 8), chosen, filled);
    }
  }
}

Fill chooseFill() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return fillAvx512;
  if (__builtin_cpu_supports("avx2")) return fillAvx2;
  return fillPlain;
}

#else

Fill chooseFill() { return fillPlain; }

#endif

const Fill chosenFill = chooseFill();

}  // namespace

void fillLanes(uint32_t* lanes, const uint64_t* mask, size_t words, uint32_t value) {
  chosenFill(lanes, mask, words, value);
}

}  // namespace stator
