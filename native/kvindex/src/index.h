#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "counts.h"
#include "hashes.h"
#include "hit_window.h"
#include "matcher.h"
#include "owner_sets.h"
#include "tier.h"

namespace stator {

inline constexpr uint32_t kTiers = 4;

struct IndexOptions {
  uint64_t maxBlocks = 0;
  uint32_t maxSlots = 0;
  uint32_t hitWindow = 0;
};

// Where lookups write: an array for each tier, indexed by slot. Those of the lower tiers may all be empty: not asked for.
struct Overlaps {
  std::array<uint32_t*, kTiers> columns{};
  std::array<size_t, kTiers> lengths{};
};

struct Stats {
  uint64_t blocks = 0;
  uint64_t entries = 0;
  uint64_t slots = 0;
  uint64_t bytes = 0;
};

// The index of core/kv-index/kv-index.ts. Unknown slots and tiers are std::out_of_range.
class Index {
 public:
  explicit Index(const IndexOptions& options);
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  uint32_t addSlot();
  void removeSlot(uint32_t slot);
  void clearSlot(uint32_t slot);
  void store(uint32_t slot, uint32_t tier, const uint64_t* parent, Hashes hashes, Counts& counts);
  void remove(uint32_t slot, uint32_t tier, Hashes hashes, Counts& counts);
  size_t match(Hashes prompt, const Overlaps& overlaps);
  bool reclaim(uint64_t budget);
  void hits(Hashes prompt, uint32_t* counts) const { hits_.count(prompt, counts); }
  Stats stats() const;

  // Throws for overlaps that do not reach to every slot in use.
  void requireRoom(const Overlaps& overlaps) const;
  bool isLive(uint32_t slot) const { return slot < slotLimit_ && (live_[slot / 64] >> (slot % 64)) & 1; }
  const Tier& tier(uint32_t tier) const { return *tiers_.at(tier); }
  const OwnerSets& sets() const { return sets_; }
  // Brings the first probe of a lookup that comes soon into the cache.
  void prefetch(Hashes prompt) const {
    if (prompt.count > 0) tiers_[0]->table().prefetch(prompt[0]);
  }
  void prefetchRun(Hashes prompt) const;

 private:
  void requireSlot(uint32_t slot) const;
  Tier& tierAt(uint32_t tier);
  void matchLower(Hashes prompt, const Overlaps& overlaps);
  void groupByEnd(uint32_t tier, size_t promptBlocks);

  IndexOptions options_;
  OwnerSets sets_;
  Room room_;
  std::array<std::unique_ptr<Tier>, kTiers> tiers_;
  HitWindow hits_;
  Matcher matcher_;

  uint32_t slotLimit_ = 0;           // Numbers given out so far.
  std::vector<uint64_t> live_;       // Slots in use.
  std::vector<uint32_t> removed_;    // Slots to be reclaimed, in order.
  std::vector<uint32_t> freeSlots_;  // A heap, lowest first.

  // Lower tiers: the slots by the block where they go on.
  std::vector<uint32_t> ends_;
  std::vector<uint32_t> firstAt_;
  std::vector<uint32_t> nextSlot_;
  std::vector<uint32_t> starts_;
  std::vector<uint64_t> group_;
};

}  // namespace stator
