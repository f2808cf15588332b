#pragma once

#include <cstdint>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace stator {

// Eight entries of a block table in one cache line, compared at once. The low 32 bits of an entry are 0 only where it is
// empty, its high 20 are its tag. Answers are sets: bit i for entry i.
struct alignas(64) Bucket {
  static constexpr uint32_t kSize = 8;
  static constexpr uint32_t kTagShift = 44;

  uint64_t entries[kSize];

#if defined(__SSE2__)
  uint32_t empty() const {
    const __m128i zero = _mm_setzero_si128();
    return bits(_mm_cmpeq_epi32(halves<kLow>(0), zero), _mm_cmpeq_epi32(halves<kLow>(4), zero));
  }

  uint32_t tagged(uint32_t tag) const {
    const __m128i wanted = _mm_set1_epi32(static_cast<int>(tag));
    return bits(_mm_cmpeq_epi32(_mm_srli_epi32(halves<kHigh>(0), kTagShift - 32), wanted),
                _mm_cmpeq_epi32(_mm_srli_epi32(halves<kHigh>(4), kTagShift - 32), wanted));
  }

 private:
  static constexpr int kLow = _MM_SHUFFLE(2, 0, 2, 0);
  static constexpr int kHigh = _MM_SHUFFLE(3, 1, 3, 1);

  __m128 pair(uint32_t i) const {
    return _mm_castsi128_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(entries + i)));
  }
  // The low or the high halves of four entries.
  template <int kWhich>
  __m128i halves(uint32_t i) const {
    return _mm_castps_si128(_mm_shuffle_ps(pair(i), pair(i + 2), kWhich));
  }
  static uint32_t bits(__m128i first, __m128i second) {
    const int low = _mm_movemask_ps(_mm_castsi128_ps(first));
    const int high = _mm_movemask_ps(_mm_castsi128_ps(second));
    return static_cast<uint32_t>(low | high << 4);
  }
#else
  // Simple enough for compilers to vectorise themselves.
  uint32_t empty() const {
    uint32_t set = 0;
    for (uint32_t i = 0; i < kSize; ++i) set |= uint32_t{entries[i] == 0} << i;
    return set;
  }

  uint32_t tagged(uint32_t tag) const {
    uint32_t set = 0;
    for (uint32_t i = 0; i < kSize; ++i) set |= uint32_t{entries[i] >> kTagShift == tag} << i;
    return set;
  }
#endif
};

static_assert(sizeof(Bucket) == 64, "a bucket is a cache line");

}  // namespace stator
