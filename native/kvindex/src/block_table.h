#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "hashes.h"
#include "run_pool.h"

namespace stator {

// Where a block is.
struct Place {
  uint32_t run;
  uint32_t offset;
};

// Finds blocks by hash in 8 bytes each: {20 bits of the hash, 12 bits offset, 32 bits run}; the hash itself lies in the
// run. Many small tables with linear probing, kept in the order of the hash bits (Robin Hood): the home of an entry follows from
// its 20 bits, so that growing, shrinking and removing never touch a run, misses end early, and no growth takes long.
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
    for (const uint64_t* entry = part.entries + home(key.tag, part.capacity); *entry != 0; ++entry) {
      const uint32_t tag = static_cast<uint32_t>(*entry >> 44);
      if (tag < key.tag) continue;
      if (tag > key.tag) return false;
      place = placeOf(*entry);
      if (runs_[place.run].hashes()[place.offset] == hash) return true;
    }
    return false;
  }

  void prefetch(uint64_t hash) const {
    const Key key = keyOf(hash);
    const Part& part = parts_[key.part];
    if (part.count != 0) __builtin_prefetch(part.entries + home(key.tag, part.capacity));
  }

  // The entry that find will look at first, if any: a guess, for prefetching its run.
  uint32_t likelyRun(uint64_t hash) const;

  void insert(uint64_t hash, Place place);
  void erase(uint64_t hash, Place place);
  void move(uint64_t hash, Place from, Place to);

  size_t count() const { return count_; }
  size_t bytes() const { return bytes_; }

 private:
  static constexpr uint32_t kPartBits = 10;
  static constexpr uint32_t kParts = 1u << kPartBits;
  static constexpr uint32_t kTagBits = 20;

  struct Part {
    uint64_t* entries = nullptr;  // `capacity` homes, room for what is pushed over the end, and a zero.
    uint32_t capacity = 0;
    uint32_t room = 0;
    uint32_t count = 0;
  };
  struct Key {
    uint32_t part;
    uint32_t tag;
  };

  static Key keyOf(uint64_t hash) {
    const uint64_t mixed = hash * 0x9e3779b97f4a7c15;
    return {static_cast<uint32_t>(mixed >> (64 - kPartBits)),
            static_cast<uint32_t>(mixed >> (64 - kPartBits - kTagBits)) & ((1u << kTagBits) - 1)};
  }
  static uint32_t home(uint32_t tag, uint32_t capacity) {
    return static_cast<uint32_t>((uint64_t{tag} * capacity) >> kTagBits);
  }
  static Place placeOf(uint64_t entry) {
    return {static_cast<uint32_t>(entry), static_cast<uint32_t>(entry >> 32) & 0xfff};
  }
  static uint64_t entryOf(uint32_t tag, Place place) {
    return uint64_t{tag} << 44 | uint64_t{place.offset} << 32 | place.run;
  }

  uint64_t* locate(Part& part, uint32_t tag, Place place) const;
  void rebuild(Part& part, uint32_t capacity, uint32_t room);

  const RunPool& runs_;
  std::unique_ptr<Part[]> parts_;
  size_t count_ = 0;
  size_t bytes_ = 0;
};

}  // namespace stator
