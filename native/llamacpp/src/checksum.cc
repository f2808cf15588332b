#include "checksum.h"

#include "block_hash.h"

namespace stator {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
uint64_t checksumAvx2(const void* bytes, size_t count, uint64_t seed);
uint64_t checksumAvx512(const void* bytes, size_t count, uint64_t seed);

uint64_t checksum(const void* bytes, size_t count, uint64_t seed) {
  if (__builtin_cpu_supports("avx512f")) return checksumAvx512(bytes, count, seed);
  if (__builtin_cpu_supports("avx2")) return checksumAvx2(bytes, count, seed);
  return XXH3_64bits_withSeed(bytes, count, seed);
}
#else
uint64_t checksum(const void* bytes, size_t count, uint64_t seed) { return XXH3_64bits_withSeed(bytes, count, seed); }
#endif

}  // namespace stator
