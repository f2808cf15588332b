#include "recency.h"

#include <algorithm>

namespace stator {

bool Recency::touch(List& list, uint32_t slot, uint64_t hash, uint64_t deadline, bool mayAdd) {
  if (table_.empty()) rehash(64);
  size_t place = find(slot, hash);
  if (table_[place] != 0) {
    const uint32_t id = table_[place] - 1;
    entries_[id].deadline = deadline;
    unlink(list, id);
    append(list, id);
    return true;
  }
  if (!mayAdd) return false;
  if ((size() + 1) * 4 > table_.size() * 3) {
    rehash(table_.size() * 2);
    place = find(slot, hash);
  }
  auto id = static_cast<uint32_t>(entries_.size());
  if (free_.empty()) {
    entries_.push_back({});
  } else {
    id = free_.back();
    free_.pop_back();
  }
  entries_[id] = {hash, deadline, slot, kNone, kNone};
  table_[place] = id + 1;
  append(list, id);
  return true;
}

void Recency::removeOldest(List& list) {
  const uint32_t id = list.oldest;
  erase(find(entries_[id].slot, entries_[id].hash));
  unlink(list, id);
  free_.push_back(id);
  if (size() > 0) return;
  entries_.clear();
  free_.clear();
  table_ = {};
}

size_t Recency::home(uint32_t slot, uint64_t hash) const {
  uint64_t mixed = (hash ^ (uint64_t{slot} + 1) * 0xbf58476d1ce4e5b9) * 0x9e3779b97f4a7c15;
  mixed ^= mixed >> 32;
  return mixed & (table_.size() - 1);
}

size_t Recency::find(uint32_t slot, uint64_t hash) const {
  const size_t mask = table_.size() - 1;
  size_t i = home(slot, hash);
  for (; table_[i] != 0; i = (i + 1) & mask) {
    const Entry& entry = entries_[table_[i] - 1];
    if (entry.hash == hash && entry.slot == slot) break;
  }
  return i;
}

void Recency::erase(size_t hole) {
  const size_t mask = table_.size() - 1;
  for (size_t i = (hole + 1) & mask; table_[i] != 0; i = (i + 1) & mask) {
    const Entry& entry = entries_[table_[i] - 1];
    const size_t wanted = home(entry.slot, entry.hash);
    if (((i - wanted) & mask) < ((i - hole) & mask)) continue;
    table_[hole] = table_[i];
    hole = i;
  }
  table_[hole] = 0;
}

void Recency::rehash(size_t capacity) {
  std::vector<uint32_t> old(capacity, 0);
  old.swap(table_);
  for (const uint32_t entry : old) {
    if (entry != 0) table_[find(entries_[entry - 1].slot, entries_[entry - 1].hash)] = entry;
  }
}

void Recency::unlink(List& list, uint32_t id) {
  const Entry& entry = entries_[id];
  (entry.older == kNone ? list.oldest : entries_[entry.older].newer) = entry.newer;
  (entry.newer == kNone ? list.newest : entries_[entry.newer].older) = entry.older;
  --list.count;
}

void Recency::append(List& list, uint32_t id) {
  entries_[id].older = list.newest;
  entries_[id].newer = kNone;
  (list.newest == kNone ? list.oldest : entries_[list.newest].newer) = id;
  list.newest = id;
  ++list.count;
}

size_t Recency::bytes() const {
  return entries_.size() * sizeof(Entry) + (free_.capacity() + table_.capacity()) * sizeof(uint32_t);
}

}  // namespace stator
