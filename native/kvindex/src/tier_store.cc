#include <algorithm>

#include "tier.h"
#include "tier_edit.h"

namespace stator {

void Tier::store(uint32_t slot, const uint64_t* parent, Hashes hashes, Counts& counts) {
  for (size_t i = 0; i < hashes.count; ++i) table_.prefetch(hashes[i]);
  Place last = {};  // The block before; run 0: not known.
  if (parent != nullptr && !table_.find(*parent, last)) last = {};
  uint64_t before = parent == nullptr ? 0 : *parent;
  for (size_t i = 0; i < hashes.count;) {
    const uint64_t hash = hashes[i];
    Place place;
    if (table_.find(hash, place)) {
      i += storeKnown(slot, place, hashes, i, counts);
      last = place;
      before = hashes[i - 1];
      continue;
    }
    const bool hasParent = i > 0 || parent != nullptr;
    if (room_.blocks >= room_.maxBlocks) {
      ++counts.dropped;
      last = {};
    } else {
      if (!revive(slot, last, hash)) append(slot, last, hasParent ? &before : nullptr, hash, hashes.count - i);
      table_.insert(hash, last);
      gain(slot, 1);
      ++room_.blocks;
      ++counts.stored;
    }
    before = hash;
    ++i;
  }
}

// The block at `place` and those that follow it there as in the column, as far as they live. Returns their number and
// moves `place` to the last.
uint32_t Tier::storeKnown(uint32_t slot, Place& place, Hashes hashes, size_t at, Counts& counts) {
  const Run& run = runs_[place.run];
  const auto longest = static_cast<uint32_t>(std::min<size_t>(hashes.count - at, run.length - place.offset));
  uint32_t count = 1;
  uint32_t segment = run.segmentAt(place.offset);
  while (count < longest && run.hashes()[place.offset + count] == hashes[at + count]) {
    if (place.offset + count == run.segments()[segment].end && run.segments()[++segment].owner == kNobody) break;
    ++count;
  }
  own(slot, place.run, place.offset, place.offset + count, counts);
  place.offset += count - 1;
  return count;
}

void Tier::own(uint32_t slot, uint32_t id, uint32_t from, uint32_t to, Counts& counts) {
  Run& run = runs_[id];
  const Segment& segment = run.segments()[run.segmentAt(from)];
  if (segment.end >= to && sets_.has(segment.owner, slot)) {
    counts.duplicates += to - from;
    return;
  }
  const bool beside = (from > 0 && ownsAt(run, from - 1, slot)) || (to < run.length && ownsAt(run, to, slot));
  if (!beside) noteRun(slot, id);
  uint64_t stored = 0;
  edit(run, from, to, [&](Owner owner, uint32_t begin, uint32_t end) {
    if (sets_.has(owner, slot)) {
      counts.duplicates += end - begin;
      return owner;
    }
    stored += end - begin;
    return sets_.with(owner, slot);
  });
  counts.stored += stored;
  gain(slot, stored);
}

// Where the next block of the run is the same but dead, it lives again. The caller puts it into the table.
bool Tier::revive(uint32_t slot, Place& last, uint64_t hash) {
  if (last.run == 0) return false;
  Run& run = runs_[last.run];
  const uint32_t next = last.offset + 1;
  if (next >= run.length || run.hashes()[next] != hash) return false;
  if (run.segments()[run.segmentAt(next)].owner != kNobody) return false;
  if (!ownsAt(run, last.offset, slot)) noteRun(slot, last.run);
  edit(run, next, next + 1, [&](Owner, uint32_t, uint32_t) { return Owner{slot}; });
  --run.dead;
  last.offset = next;
  return true;
}

// Puts a new block behind `last` if that ends its run, otherwise at the start of a new run.
void Tier::append(uint32_t slot, Place& last, const uint64_t* parent, uint64_t hash, size_t more) {
  const bool extends = last.run != 0 && last.offset + 1u == runs_[last.run].length && runs_[last.run].length < Run::kMaxLength;
  if (!extends) {
    const auto wanted = static_cast<uint32_t>(std::min<size_t>(more, Run::kMaxLength));
    last = {runs_.create(parent != nullptr, parent == nullptr ? 0 : *parent, wanted), 0};
    Run& run = runs_[last.run];
    noteRun(slot, last.run);
    run.hashes()[0] = hash;
    run.length = 1;
    const Segment segment = {1, slot};
    runs_.splice(run, 0, 0, &segment, 1);
    return;
  }
  Run& run = runs_[last.run];
  runs_.reserve(run, static_cast<uint32_t>(std::min<size_t>(run.length + more, Run::kMaxLength)));
  last.offset = run.length;
  run.hashes()[run.length++] = hash;
  Segment& tail = run.segments()[run.segmentCount - 1];
  if (tail.owner == slot) {
    tail.end = run.length;
    return;
  }
  if (!sets_.has(tail.owner, slot)) noteRun(slot, last.run);
  const Segment segment = {run.length, slot};
  runs_.splice(run, run.segmentCount, run.segmentCount, &segment, 1);
}

}  // namespace stator
