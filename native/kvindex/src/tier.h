#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "block_table.h"
#include "counts.h"
#include "hashes.h"
#include "owner_sets.h"
#include "run_pool.h"

namespace stator {

// Which slots have which blocks in one tier. Blocks lie in runs: chains whose last block was the parent of the next when
// that was stored. A prompt is compared with a whole run at once, so a lookup takes a few probes however long it is.
class Tier {
 public:
  Tier(OwnerSets& sets, Room& room) : sets_(sets), room_(room), table_(runs_) {}
  Tier(const Tier&) = delete;
  Tier& operator=(const Tier&) = delete;

  bool has(uint32_t slot, uint64_t hash) const;
  void store(uint32_t slot, const uint64_t* parent, Hashes hashes, Counts& counts);
  void remove(uint32_t slot, Hashes hashes, Counts& counts);

  // Takes the slot from some run where it may be and returns the blocks looked at; 0: it is in none.
  uint64_t forgetSome(uint32_t slot);

  // Blocks that the slot has.
  uint64_t entries(uint32_t slot) const { return slot < slots_.size() ? slots_[slot].entries : 0; }
  uint64_t blocks() const { return table_.count(); }
  size_t bytes() const;

  const RunPool& runs() const { return runs_; }
  const BlockTable& table() const { return table_; }

 private:
  struct SlotState {
    uint64_t entries = 0;
    // Every run that holds a block of the slot; also others, and some twice, until there are too many.
    std::vector<uint32_t> runs;
    size_t sweepAt = 64;
  };

  SlotState& stateOf(uint32_t slot);
  bool ownsAt(const Run& run, uint32_t offset, uint32_t slot) const;
  bool ownsIn(const Run& run, uint32_t slot) const;
  void noteRun(uint32_t slot, uint32_t id);
  void gain(uint32_t slot, uint64_t blocks) { stateOf(slot).entries += blocks; }

  // Storing, from a place that is known or not (run 0).
  uint32_t storeKnown(uint32_t slot, Place& place, Hashes hashes, size_t at, Counts& counts);
  void own(uint32_t slot, uint32_t id, uint32_t from, uint32_t to, Counts& counts);
  bool revive(uint32_t slot, Place& last, uint64_t hash);
  void append(uint32_t slot, Place& last, const uint64_t* parent, uint64_t hash, size_t more);

  uint64_t disown(uint32_t slot, uint32_t id, uint32_t from, uint32_t to);
  void tidy(uint32_t id);
  void compact(uint32_t id);
  void moveStretch(uint32_t from, uint32_t firstSegment, uint32_t lastSegment);

  template <typename Change>
  void edit(Run& run, uint32_t from, uint32_t to, Change&& change);

  OwnerSets& sets_;
  Room& room_;
  RunPool runs_;
  BlockTable table_;
  std::vector<SlotState> slots_;
  std::vector<Segment> scratch_;
};

}  // namespace stator
