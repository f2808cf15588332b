#include "block_table.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace stator {
namespace {

// Of entries. At the highest load one bucket in four is full.
constexpr double kMaxLoad = 0.75;
constexpr double kMinLoad = 0.33;
constexpr double kLoadAfterShrinking = 0.55;
constexpr double kGrowth = 1.45;

uint32_t grown(uint32_t size, uint32_t part) {
  // Jitter, so that parts do not all grow at the same time.
  const double factor = kGrowth + static_cast<double>(part % 16) / 160;
  return std::max(1u, static_cast<uint32_t>(std::ceil(size * factor)));
}

uint32_t shrunk(uint32_t count) {
  return std::max(1u, static_cast<uint32_t>(std::ceil(count / (Bucket::kSize * kLoadAfterShrinking))));
}

}  // namespace

BlockTable::BlockTable(const RunPool& runs)
    : runs_(runs), parts_(std::make_unique<Part[]>(kParts)), bytes_(kParts * sizeof(Part)) {}

BlockTable::~BlockTable() {
  for (uint32_t i = 0; i < kParts; ++i) std::free(parts_[i].buckets);
}

uint32_t BlockTable::likelyRun(uint64_t hash) const {
  const Key key = keyOf(hash);
  const Part& part = parts_[key.part];
  if (part.count == 0) return 0;
  const Bucket& bucket = part.buckets[home(key.tag, part.size)];
  const uint32_t same = bucket.tagged(key.tag) & ~bucket.empty();
  return same == 0 ? 0 : placeOf(bucket.entries[__builtin_ctz(same)]).run;
}

void BlockTable::insert(uint64_t hash, Place place) {
  const Key key = keyOf(hash);
  Part& part = parts_[key.part];
  if (part.count + 1 > part.size * (Bucket::kSize * kMaxLoad)) rebuild(part, grown(part.size, key.part));
  uint32_t at = home(key.tag, part.size);
  uint32_t empty = part.buckets[at].empty();
  while (empty == 0) {
    at = next(part, at);
    empty = part.buckets[at].empty();
  }
  part.buckets[at].entries[__builtin_ctz(empty)] = entryOf(key.tag, place);
  ++part.count;
  ++count_;
}

void BlockTable::erase(uint64_t hash, Place place) {
  const Key key = keyOf(hash);
  Part& part = parts_[key.part];
  const Found found = locate(part, key.tag, place);
  const bool full = part.buckets[found.bucket].empty() == 0;
  *found.entry = 0;
  if (full) closeGap(part, found);
  --part.count;
  --count_;
  if (part.size > 2 && part.count < part.size * (Bucket::kSize * kMinLoad)) rebuild(part, shrunk(part.count));
}

// A full bucket got a gap: an entry further on, at home in this bucket or before, moves into it and may leave the next gap.
void BlockTable::closeGap(Part& part, Found gap) {
  uint32_t distance = 0;
  for (uint32_t other = next(part, gap.bucket); other != gap.bucket; other = next(part, other)) {
    ++distance;
    Bucket& bucket = part.buckets[other];
    const bool full = bucket.empty() == 0;
    for (uint64_t& entry : bucket.entries) {
      if (entry == 0) continue;
      const uint32_t from = homeOf(entry, part.size);
      const uint32_t travelled = other >= from ? other - from : other + part.size - from;
      if (travelled < distance) continue;
      *gap.entry = entry;
      entry = 0;
      gap = {other, &entry};
      distance = 0;
      break;
    }
    // Nothing went past a bucket with room.
    if (!full) return;
  }
}

void BlockTable::move(uint64_t hash, Place from, Place to) {
  const Key key = keyOf(hash);
  *locate(parts_[key.part], key.tag, from).entry = entryOf(key.tag, to);
}

BlockTable::Found BlockTable::locate(const Part& part, uint32_t tag, Place place) {
  const uint64_t wanted = entryOf(tag, place);
  for (uint32_t at = home(tag, part.size); part.count > 0; at = next(part, at)) {
    Bucket& bucket = part.buckets[at];
    for (uint32_t same = bucket.tagged(tag); same != 0; same &= same - 1) {
      uint64_t& entry = bucket.entries[__builtin_ctz(same)];
      if (entry == wanted) return {at, &entry};
    }
    if (bucket.empty() != 0) break;
  }
  throw std::logic_error("a block of a run is missing in the table");
}

void BlockTable::rebuild(Part& part, uint32_t size) {
  filled_.assign(size, 0);
  const size_t bytes = size * sizeof(Bucket);
  auto* buckets = static_cast<Bucket*>(std::aligned_alloc(alignof(Bucket), bytes));
  if (buckets == nullptr) throw std::bad_alloc();
  std::memset(buckets, 0, bytes);
  const Part old = part;
  part.buckets = buckets;
  part.size = size;
  for (uint32_t from = 0; from < old.size; ++from) {
    for (const uint64_t entry : old.buckets[from].entries) {
      if (entry == 0) continue;
      uint32_t at = homeOf(entry, size);
      while (filled_[at] == Bucket::kSize) at = next(part, at);
      buckets[at].entries[filled_[at]++] = entry;
    }
  }
  std::free(old.buckets);
  bytes_ += bytes - old.size * sizeof(Bucket);
}

}  // namespace stator
