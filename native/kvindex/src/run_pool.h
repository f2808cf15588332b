#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "owner_sets.h"

namespace stator {

// Blocks of a run from the previous segment's end up to `end` have the same owners.
struct Segment {
  uint32_t end;
  Owner owner;
};

// A chain of blocks: hashes side by side, and segments of owners in order. Blocks whose last owner went are dead: their
// hash stays as a placeholder so that offsets never move.
struct Run {
  static constexpr uint32_t kMaxLength = 4096;
  static constexpr uint32_t kInline = 2;

  uint64_t* memory;  // The block before the first one, then the hashes.
  uint16_t length;
  uint16_t capacity;
  uint16_t dead;
  uint16_t segmentCount : 15;
  uint16_t hasParent : 1;
  union {
    Segment inlined[kInline];
    struct {
      Segment* segments;
      uint32_t capacity;
    } heap;
  };

  const uint64_t* hashes() const { return memory + 1; }
  uint64_t* hashes() { return memory + 1; }
  Segment* segments() { return segmentCount <= kInline ? inlined : heap.segments; }
  const Segment* segments() const { return segmentCount <= kInline ? inlined : heap.segments; }
  uint32_t segmentStart(uint32_t i) const { return i == 0 ? 0 : segments()[i - 1].end; }
  // The segment that holds an offset.
  uint32_t segmentAt(uint32_t offset) const;
};

static_assert(sizeof(Run) == 32, "two runs share a cache line");

// Runs by number, from 1; their memory. Numbers of freed runs are used again.
class RunPool {
 public:
  RunPool() = default;
  RunPool(const RunPool&) = delete;
  RunPool& operator=(const RunPool&) = delete;
  ~RunPool();

  Run& operator[](uint32_t id) { return chunks_[id >> kChunkBits][id & kChunkMask]; }
  const Run& operator[](uint32_t id) const { return chunks_[id >> kChunkBits][id & kChunkMask]; }

  // An empty run with room for some blocks.
  uint32_t create(bool hasParent, uint64_t parent, uint32_t capacity);
  // The same for blocks moved from run `above`, numbered higher so that a dump which passed `above` never misses them.
  uint32_t createAbove(uint32_t above, bool hasParent, uint64_t parent, uint32_t capacity);
  // Frees the memory; the caller has released the owners.
  void destroy(uint32_t id);
  // Makes room for one more block.
  void reserve(Run& run, uint32_t length);
  void shrink(Run& run);
  // Replaces segments [from, to) by others.
  void splice(Run& run, uint32_t from, uint32_t to, const Segment* with, uint32_t count);

  // Runs have numbers below this; those with length 0 are free.
  uint32_t limit() const { return next_; }
  size_t live() const { return next_ - 1 - free_.size(); }
  size_t bytes() const;

 private:
  static constexpr uint32_t kChunkBits = 11;
  static constexpr uint32_t kChunkMask = (1u << kChunkBits) - 1;

  uint32_t take(uint32_t above);
  uint32_t open(uint32_t id, bool hasParent, uint64_t parent, uint32_t capacity);
  void resize(Run& run, uint32_t capacity);

  std::vector<std::unique_ptr<Run[]>> chunks_;
  std::vector<uint32_t> free_;
  uint32_t next_ = 1;
  size_t heapBytes_ = 0;
};

}  // namespace stator
