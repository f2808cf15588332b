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
#include <vector>

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

// A media object that lies in a block: its hash follows the block's tokens.
struct BlockMedia {
  uint32_t block;
  uint64_t hash;
  bool operator<(const BlockMedia& other) const {
    return block != other.block ? block < other.block : hash < other.hash;
  }
};

// A run of placeholder tokens of one media object, from `offset` in the prompt. The universal form hashes the object and
// the place within it instead of the tokens.
struct MediaRun {
  uint64_t offset;
  uint64_t length;
  uint64_t hash;
  uint64_t end() const { return offset + length; }
};

// How a chain of blocks is cut and what enters beside tokens. `media` is sorted; `runs` are sorted and do not overlap.
// At most one of them is used.
struct ChainShape {
  size_t blockSize = 0;
  // Eagle and MTP: a block also sees the token after it.
  bool eagle = false;
  // Sequence hash of the block before the first; null starts a prompt.
  const uint64_t* parent = nullptr;
  std::vector<BlockMedia> media;
  std::vector<MediaRun> runs;

  size_t window() const { return blockSize + (eagle ? 1 : 0); }
  size_t blocks(size_t tokens) const {
    if (!eagle) return tokens / blockSize;
    return tokens == 0 ? 0 : (tokens - 1) / blockSize;
  }
};

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

  // The same for a chain of any shape; arrays of shape.blocks(count) places.
  void chain(const uint32_t* tokens, size_t count, const ChainShape& shape, uint64_t* locals, uint64_t* sequences) const {
    const size_t full = shape.blocks(count);
    std::vector<unsigned char> bytes;
    size_t media = 0;
    size_t run = 0;
    for (size_t i = 0; i < full; ++i) {
      const size_t start = i * shape.blockSize;
      const size_t mediaEnd = endOfBlock(shape.media, media, i);
      while (run < shape.runs.size() && shape.runs[run].end() <= start) ++run;
      bytes.clear();
      if (mediaEnd > media) {
        append(bytes, tokens + start, shape.window() * sizeof(uint32_t));
        for (; media < mediaEnd; ++media) append(bytes, &shape.media[media].hash, sizeof(uint64_t));
      } else if (run < shape.runs.size() && shape.runs[run].offset < start + shape.window()) {
        frames(bytes, tokens, start, shape, run);
      }
      locals[i] = bytes.empty() ? local(tokens + start, shape.window()) : ofBytes(bytes.data(), bytes.size());
      const uint64_t* parent = i == 0 ? shape.parent : &sequences[i - 1];
      sequences[i] = parent == nullptr ? locals[i] : sequenceHash(*parent, locals[i]);
    }
  }

 private:
  uint64_t ofBytes(const void* bytes, size_t length) const {
    return XXH3_64bits_withSecretandSeed(bytes, length, secret_, sizeof(secret_), seed_);
  }

  static void append(std::vector<unsigned char>& bytes, const void* from, size_t length) {
    const auto* first = static_cast<const unsigned char*>(from);
    bytes.insert(bytes.end(), first, first + length);
  }

  static size_t endOfBlock(const std::vector<BlockMedia>& media, size_t from, size_t block) {
    while (from < media.size() && media[from].block == block) ++from;
    return from;
  }

  // Every place of a block that media touch becomes 13 bytes: kind, token or place in the run, hash of the object or 0.
  static void frames(std::vector<unsigned char>& bytes, const uint32_t* tokens, size_t start, const ChainShape& shape,
                     size_t run) {
    for (size_t at = start; at < start + shape.window(); ++at) {
      while (run < shape.runs.size() && shape.runs[run].end() <= at) ++run;
      const bool inRun = run < shape.runs.size() && shape.runs[run].offset <= at;
      const unsigned char kind = inRun ? 1 : 0;
      const uint32_t word = inRun ? static_cast<uint32_t>(at - shape.runs[run].offset) : tokens[at];
      const uint64_t hash = inRun ? shape.runs[run].hash : 0;
      append(bytes, &kind, sizeof(kind));
      append(bytes, &word, sizeof(word));
      append(bytes, &hash, sizeof(hash));
    }
  }

  uint64_t seed_;
  unsigned char secret_[XXH3_SECRET_DEFAULT_SIZE];
};

}  // namespace stator
