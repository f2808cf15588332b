#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f")
#define XXH_VECTOR XXH_AVX512
#include "checksum_wide.h"

namespace stator {

uint64_t checksumAvx512(const void* bytes, size_t count, uint64_t seed) { return XXH3_64bits_withSeed(bytes, count, seed); }

}  // namespace stator
#endif
