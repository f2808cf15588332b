#pragma once

// Hashes of KV blocks: XXH3-64 with the seed, salts and chain that routers, workers and KV events of Dynamo use, so
// that Stator's events and indexes can be mixed with Dynamo's.

#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace stator {

static_assert(std::endian::native == std::endian::little, "token ids are hashed as they lie in memory, little-endian");

inline constexpr uint64_t kBlockHashSeed = 1337;

// Seed of the local hashes: 1337 plus the hashes of the adapter's name and of the cache salt. Empty is the same as absent.
inline uint64_t blockHashSeed(std::string_view adapter, std::string_view cacheSalt) {
  uint64_t seed = kBlockHashSeed;
  if (!adapter.empty()) seed += XXH3_64bits_withSeed(adapter.data(), adapter.size(), 0);
  if (!cacheSalt.empty()) seed += XXH3_64bits_withSeed(cacheSalt.data(), cacheSalt.size(), 1);
  return seed;
}

// Hash of a block from its parent's sequence hash; the first block's sequence hash is its local hash.
// The chain's seed is always 1337: salts enter by the local hash alone.
inline uint64_t sequenceHash(uint64_t parent, uint64_t local) {
  const uint64_t pair[2] = {parent, local};
  return XXH3_64bits_withSeed(pair, sizeof(pair), kBlockHashSeed);
}

// Hashes blocks under one seed. Keeps the seed's secret, which XXH3 would otherwise derive again for every block above
// 240 bytes.
class BlockHasher {
 public:
  explicit BlockHasher(uint64_t seed) : seed_(seed) { XXH3_generateSecret_fromSeed(secret_, seed); }
  BlockHasher(std::string_view adapter, std::string_view cacheSalt) : BlockHasher(blockHashSeed(adapter, cacheSalt)) {}

  // Local hash of one full block.
  uint64_t local(const uint32_t* tokens, size_t blockSize) const {
    return XXH3_64bits_withSecretandSeed(tokens, blockSize * sizeof(uint32_t), secret_, sizeof(secret_), seed_);
  }

  // Local and sequence hashes of the full blocks of a prompt, written to arrays of count / blockSize places.
  void blocks(const uint32_t* tokens, size_t count, size_t blockSize, uint64_t* locals, uint64_t* sequences) const {
    const size_t full = count / blockSize;
    for (size_t i = 0; i < full; ++i) {
      locals[i] = local(tokens + i * blockSize, blockSize);
      sequences[i] = i == 0 ? locals[0] : sequenceHash(sequences[i - 1], locals[i]);
    }
  }

 private:
  uint64_t seed_;
  unsigned char secret_[XXH3_SECRET_DEFAULT_SIZE];
};

}  // namespace stator
