#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "counts.h"
#include "hashes.h"
#include "matcher.h"
#include "owner_sets.h"
#include "recency.h"
#include "tier.h"

namespace stator {

struct ApproximateOptions {
  uint64_t ttlMs = 0;          // 0: blocks do not grow old.
  uint32_t blocksPerSlot = 0;  // 0: no bound but maxBlocks.
  uint64_t maxBlocks = 0;
};

// The approximate index of core/kv-index/approximate.ts.
class Approximate {
 public:
  explicit Approximate(const ApproximateOptions& options) : options_(options), tier_(sets_, room_), matcher_(sets_) {}
  Approximate(const Approximate&) = delete;
  Approximate& operator=(const Approximate&) = delete;

  void record(uint32_t slot, Hashes hashes, double nowMs);
  // `device` reaches to every slot seen, or this throws std::out_of_range.
  size_t match(Hashes prompt, uint32_t* device, size_t length, double nowMs);
  void removeSlot(uint32_t slot);
  void limitSlot(uint32_t slot, uint32_t blocks);
  void expire(double nowMs);

  uint64_t entries() const { return held_.size(); }
  size_t bytes() const;

 private:
  struct SlotList {
    Recency::List blocks;
    uint32_t limit = 0;
  };

  void requireSlot(uint32_t slot);
  void evictOldest(uint32_t slot);
  void storeTaken(uint32_t slot, Hashes hashes, bool all);

  ApproximateOptions options_;
  OwnerSets sets_;
  Room room_{0, UINT64_MAX};
  Tier tier_;
  Matcher matcher_;
  Recency held_;
  std::vector<SlotList> slots_;
  std::vector<uint64_t> everySlot_;
  double nowMs_ = 0;
  uint64_t step_ = 0;  // nowMs_ in steps of expiry.
};

}  // namespace stator
