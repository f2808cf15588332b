#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "index.h"

namespace stator {

// Mirrors DumpCursor of core/kv-index/kv-index.ts: the next run, the next block in it, the next of its owners.
struct DumpCursor {
  uint32_t tier = 0;
  uint32_t position = 1;
  uint32_t offset = 0;
  uint32_t slot = 0;
};

// Stored events as columns; the hashes of event i end at ends[i].
struct Dump {
  std::vector<uint32_t> slots;
  std::vector<uint32_t> tiers;
  std::vector<uint32_t> hasParent;
  std::vector<uint64_t> parents;
  std::vector<uint32_t> ends;
  std::vector<uint64_t> hashes;
  std::optional<DumpCursor> next;
};

// Runs by number, their segments in order, the owners of each: applied in this order, blocks gather in the same runs.
Dump dump(const Index& index, DumpCursor from, uint64_t maxBlocks);

}  // namespace stator
