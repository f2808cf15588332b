// Body of checksum_avx2.cc and checksum_avx512.cc: XXH3 compiled for the instructions that they choose.
#include <immintrin.h>

#define XXH_INLINE_ALL
#include <xxhash.h>
