#pragma once

#include <cstdint>

namespace stator {

// What changes did, in blocks; mirrors EventCounts of core/kv-index/kv-index.ts.
struct Counts {
  uint64_t stored = 0;
  uint64_t removed = 0;
  uint64_t duplicates = 0;
  uint64_t unmatchedParents = 0;
  uint64_t unmatchedRemovals = 0;
  uint64_t dropped = 0;
};

// Blocks over all tiers, and the most there may be.
struct Room {
  uint64_t blocks = 0;
  uint64_t maxBlocks = 0;
};

}  // namespace stator
