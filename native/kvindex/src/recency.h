#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace stator {

// (slot, block) pairs with the time until which they count, in lists by last use.
class Recency {
 public:
  static constexpr uint32_t kNone = 0xffffffff;

  struct Entry {
    uint64_t hash;
    uint64_t deadline;
    uint32_t slot;
    uint32_t older;
    uint32_t newer;
  };
  struct List {
    uint32_t oldest = kNone;
    uint32_t newest = kNone;
    uint32_t count = 0;
  };

  // Makes a pair the most recently used of its list; adds it, if it is new and `mayAdd`. False: it is not there.
  bool touch(List& list, uint32_t slot, uint64_t hash, uint64_t deadline, bool mayAdd);
  bool has(uint32_t slot, uint64_t hash) const { return !table_.empty() && table_[find(slot, hash)] != 0; }
  const Entry& at(uint32_t id) const { return entries_[id]; }
  void removeOldest(List& list);

  size_t size() const { return entries_.size() - free_.size(); }
  size_t bytes() const;

 private:
  // Where the pair is in the table, or where it would be put.
  size_t find(uint32_t slot, uint64_t hash) const;
  size_t home(uint32_t slot, uint64_t hash) const;
  void erase(size_t hole);
  void rehash(size_t capacity);
  void unlink(List& list, uint32_t id);
  void append(List& list, uint32_t id);

  std::deque<Entry> entries_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> table_;  // Ids + 1, open addressing; 0: empty.
};

}  // namespace stator
