#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "bucket.h"
#include "hashes.h"
#include "run_pool.h"

namespace stator {

// Where a block is.
struct Place {
  uint32_t run;
  uint32_t offset;
};

// Finds blocks by hash in 8 bytes each: {20 bits of the hash, 12 bits offset, 32 bits run}; the hash itself lies in the
// run. Many small tables of buckets; what a full bucket has no room for lies in one of the next. The home of an entry
// follows from its 20 bits, so that growing, shrinking and removing never touch a run, and no growth takes long.
class BlockTable {
 public:
  explicit BlockTable(const RunPool& runs);
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;
  ~BlockTable();

  bool find(uint64_t hash, Place& place) const {
    const Key key = keyOf(hash);
    const Part& part = parts_[key.part];
    if (part.count == 0) return false;
    for (uint32_t at = home(key.tag, part.size);; at = next(part, at)) {
      const Bucket& bucket = part.buckets[at];
      const uint32_t empty = bucket.empty();
      for (uint32_t same = bucket.tagged(key.tag) & ~empty; same != 0; same &= same - 1) {
        place = placeOf(bucket.entries[__builtin_ctz(same)]);
        if (runs_[place.run].hashes()[place.offset] == hash) return true;
      }
      if (empty != 0) return false;
    }
  }

  void prefetch(uint64_t hash) const {
    const Key key = keyOf(hash);
    const Part& part = parts_[key.part];
    if (part.count != 0) __builtin_prefetch(part.buckets + home(key.tag, part.size));
  }

  // The run that find will look at first, or 0: a guess, for prefetching it.
  uint32_t likelyRun(uint64_t hash) const;

  void insert(uint64_t hash, Place place);
  void erase(uint64_t hash, Place place);
  void move(uint64_t hash, Place from, Place to);

  size_t count() const { return count_; }
  size_t bytes() const { return bytes_ + filled_.capacity(); }

 private:
  static constexpr uint32_t kPartBits = 10;
  static constexpr uint32_t kParts = 1u << kPartBits;
  static constexpr uint32_t kTagBits = 20;

  // No bucket from the home of an entry up to where it lies has room. Some bucket always has.
  struct Part {
    Bucket* buckets = nullptr;
    uint32_t size = 0;  // In buckets.
    uint32_t count = 0;
  };
  struct Key {
    uint32_t part;
    uint32_t tag;
  };
  struct Found {
    uint32_t bucket;
    uint64_t* entry;
  };

  static Key keyOf(uint64_t hash) {
    const uint64_t mixed = hash * 0x9e3779b97f4a7c15;
    return {static_cast<uint32_t>(mixed >> (64 - kPartBits)),
            static_cast<uint32_t>(mixed >> (64 - kPartBits - kTagBits)) & ((1u << kTagBits) - 1)};
  }
  static uint32_t home(uint32_t tag, uint32_t size) { return static_cast<uint32_t>((uint64_t{tag} * size) >> kTagBits); }
  static uint32_t homeOf(uint64_t entry, uint32_t size) {
    return home(static_cast<uint32_t>(entry >> Bucket::kTagShift), size);
  }
  static uint32_t next(const Part& part, uint32_t at) { return at + 1 == part.size ? 0 : at + 1; }
  static Place placeOf(uint64_t entry) {
    return {static_cast<uint32_t>(entry), static_cast<uint32_t>(entry >> 32) & 0xfff};
  }
  static uint64_t entryOf(uint32_t tag, Place place) {
    return uint64_t{tag} << Bucket::kTagShift | uint64_t{place.offset} << 32 | place.run;
  }

  static Found locate(const Part& part, uint32_t tag, Place place);
  static void closeGap(Part& part, Found gap);
  void rebuild(Part& part, uint32_t size);

  const RunPool& runs_;
  std::unique_ptr<Part[]> parts_;
  std::vector<uint8_t> filled_;  // While a part is rebuilt: entries in each bucket.
  size_t count_ = 0;
  size_t bytes_ = 0;
};

}  // namespace stator
