#include "owner_sets.h"

#include <algorithm>
#include <cstring>

namespace stator {
namespace {

// SplitMix64: independent keys from consecutive slots.
uint64_t slotKey(uint32_t slot) {
  uint64_t z = (uint64_t{slot} + 1) * 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t wordAt(const uint64_t* words, uint32_t count, uint32_t i) { return i < count ? words[i] : 0; }

uint64_t turnedWord(const uint64_t* words, uint32_t count, uint32_t i, uint32_t slot) {
  const uint64_t turned = i == slot / 64 ? uint64_t{1} << (slot % 64) : 0;
  return wordAt(words, count, i) ^ turned;
}

}  // namespace

OwnerSets::~OwnerSets() {
  for (Set& set : sets_) delete[] set.words;
}

bool OwnerSets::has(Owner owner, uint32_t slot) const {
  if (!isSet(owner)) return owner == slot;
  const Bits all = bits(owner);
  return (wordAt(all.words, all.count, slot / 64) >> (slot % 64)) & 1;
}

Owner OwnerSets::retain(Owner owner) {
  if (isSet(owner)) ++sets_[owner & ~kSetBit].references;
  return owner;
}

void OwnerSets::release(Owner owner) {
  if (!isSet(owner)) return;
  const uint32_t id = owner & ~kSetBit;
  if (--sets_[id].references == 0) destroy(id);
}

Owner OwnerSets::with(Owner owner, uint32_t slot) {
  if (owner == kNobody) return slot;
  if (isSet(owner)) return turn(owner, slot, sets_[owner & ~kSetBit].slots + 1);
  uint64_t alone[1024 / 64] = {};
  std::vector<uint64_t> large;
  const uint32_t wordCount = owner / 64 + 1;
  uint64_t* words = alone;
  if (wordCount > std::size(alone)) {
    large.assign(wordCount, 0);
    words = large.data();
  }
  words[owner / 64] = uint64_t{1} << (owner % 64);
  const uint64_t key = slotKey(owner) ^ slotKey(slot);
  const Owner found = findTurned(key, words, wordCount, slot);
  return found != kNobody ? retain(found) : create(key, words, wordCount, slot, 2);
}

Owner OwnerSets::without(Owner owner, uint32_t slot) {
  if (!isSet(owner)) return kNobody;
  const uint32_t slots = sets_[owner & ~kSetBit].slots;
  if (slots > 2) return turn(owner, slot, slots - 1);
  Owner other = kNobody;
  forEach(owner, [&](uint32_t each) {
    if (each != slot) other = each;
  });
  release(owner);
  return other;
}

Owner OwnerSets::turn(Owner owner, uint32_t slot, uint32_t slots) {
  const uint32_t id = owner & ~kSetBit;
  const uint64_t key = sets_[id].key ^ slotKey(slot);
  const Owner found = findTurned(key, sets_[id].words, sets_[id].wordCount, slot);
  if (found != kNobody) {
    retain(found);
    release(owner);
    return found;
  }
  Set& set = sets_[id];
  if (set.references > 1 || slot / 64 >= set.wordCount) {
    const Owner created = create(key, set.words, set.wordCount, slot, slots);
    release(owner);
    return created;
  }
  unlink(id);
  set.words[slot / 64] ^= uint64_t{1} << (slot % 64);
  set.key = key;
  set.slots = slots;
  link(id);
  return owner;
}

Owner OwnerSets::findTurned(uint64_t key, const uint64_t* words, uint32_t wordCount, uint32_t slot) const {
  if (table_.empty()) return kNobody;
  const size_t mask = table_.size() - 1;
  for (size_t i = key & mask; table_[i] != 0; i = (i + 1) & mask) {
    const Set& set = sets_[table_[i] - 1];
    if (set.key != key) continue;
    const uint32_t longest = std::max({set.wordCount, wordCount, slot / 64 + 1});
    bool equal = true;
    for (uint32_t w = 0; equal && w < longest; ++w) {
      equal = wordAt(set.words, set.wordCount, w) == turnedWord(words, wordCount, w, slot);
    }
    if (equal) return (table_[i] - 1) | kSetBit;
  }
  return kNobody;
}

Owner OwnerSets::create(uint64_t key, const uint64_t* words, uint32_t wordCount, uint32_t slot, uint32_t slots) {
  const uint32_t count = std::max(wordCount, slot / 64 + 1);
  auto* copy = new uint64_t[count];
  for (uint32_t w = 0; w < count; ++w) copy[w] = turnedWord(words, wordCount, w, slot);
  uint32_t id = 0;
  if (free_.empty()) {
    id = static_cast<uint32_t>(sets_.size());
    sets_.push_back({});
  } else {
    id = free_.back();
    free_.pop_back();
  }
  sets_[id] = {copy, key, count, slots, 1};
  bitmapBytes_ += count * sizeof(uint64_t);
  if ((size() + 1) * 2 > table_.size()) rehash(std::max<size_t>(64, table_.size() * 2));
  link(id);
  return id | kSetBit;
}

void OwnerSets::destroy(uint32_t id) {
  unlink(id);
  bitmapBytes_ -= sets_[id].wordCount * sizeof(uint64_t);
  delete[] sets_[id].words;
  sets_[id] = {};
  free_.push_back(id);
}

void OwnerSets::link(uint32_t id) {
  const size_t mask = table_.size() - 1;
  size_t i = sets_[id].key & mask;
  while (table_[i] != 0) i = (i + 1) & mask;
  table_[i] = id + 1;
}

void OwnerSets::unlink(uint32_t id) {
  const size_t mask = table_.size() - 1;
  size_t hole = sets_[id].key & mask;
  while (table_[hole] != id + 1) hole = (hole + 1) & mask;
  // Backward shift: whatever may move towards its home does.
  for (size_t i = (hole + 1) & mask; table_[i] != 0; i = (i + 1) & mask) {
    const size_t home = sets_[table_[i] - 1].key & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    table_[hole] = table_[i];
    hole = i;
  }
  table_[hole] = 0;
}

void OwnerSets::rehash(size_t capacity) {
  std::vector<uint32_t> old(capacity, 0);
  old.swap(table_);
  for (const uint32_t entry : old) {
    if (entry != 0) link(entry - 1);
  }
}

size_t OwnerSets::bytes() const {
  return bitmapBytes_ + sets_.capacity() * sizeof(Set) + free_.capacity() * sizeof(uint32_t) + table_.capacity() * sizeof(uint32_t);
}

}  // namespace stator
