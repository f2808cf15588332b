#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace stator {

// Who has a block: nobody, one slot (its number), or an interned set of slots (its id with the top bit).
using Owner = uint32_t;

inline constexpr Owner kNobody = 0xffffffff;
inline constexpr Owner kSetBit = 0x80000000;

inline bool isSet(Owner owner) { return (owner & kSetBit) != 0 && owner != kNobody; }

// Sets of two or more slots, each stored once however many blocks it owns: bitmaps found by an incremental hash, counted
// references. Functions that take an Owner by "moving" consume one reference and return one.
class OwnerSets {
 public:
  ~OwnerSets();

  bool has(Owner owner, uint32_t slot) const;
  Owner retain(Owner owner);
  void release(Owner owner);
  // Moving: `owner` plus or minus a slot.
  Owner with(Owner owner, uint32_t slot);
  Owner without(Owner owner, uint32_t slot);

  struct Bits {
    const uint64_t* words;
    uint32_t count;
  };
  // Bitmap of a set; words beyond `count` are zero.
  Bits bits(Owner set) const {
    const Set& found = sets_[set & ~kSetBit];
    return {found.words, found.wordCount};
  }

  template <typename Function>
  void forEach(Owner owner, Function&& function) const {
    if (owner == kNobody) return;
    if (!isSet(owner)) return function(owner);
    const Bits all = bits(owner);
    for (uint32_t w = 0; w < all.count; ++w) {
      for (uint64_t rest = all.words[w]; rest != 0; rest &= rest - 1) {
        function(w * 64 + static_cast<uint32_t>(__builtin_ctzll(rest)));
      }
    }
  }

  size_t size() const { return sets_.size() - free_.size(); }
  size_t bytes() const;

 private:
  struct Set {
    uint64_t* words;
    uint64_t key;  // Exclusive or of the slots' hashes.
    uint32_t wordCount;
    uint32_t slots;
    uint32_t references;
  };

  // The interned set that equals `from` with the bit of `slot` turned over; kNobody: there is none.
  Owner findTurned(uint64_t key, const uint64_t* words, uint32_t wordCount, uint32_t slot) const;
  Owner create(uint64_t key, const uint64_t* words, uint32_t wordCount, uint32_t slot, uint32_t slots);
  Owner turn(Owner owner, uint32_t slot, uint32_t slots);
  void link(uint32_t id);
  void unlink(uint32_t id);
  void rehash(size_t capacity);
  void destroy(uint32_t id);

  std::vector<Set> sets_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> table_;  // Ids + 1 by key, open addressing; 0: empty.
  size_t bitmapBytes_ = 0;
};

}  // namespace stator
