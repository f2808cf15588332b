#include "tier.h"

#include <algorithm>

#include "tier_edit.h"

namespace stator {

Tier::SlotState& Tier::stateOf(uint32_t slot) {
  if (slot >= slots_.size()) slots_.resize(slot + 1);
  return slots_[slot];
}

bool Tier::ownsAt(const Run& run, uint32_t offset, uint32_t slot) const {
  return sets_.has(run.segments()[run.segmentAt(offset)].owner, slot);
}

bool Tier::ownsIn(const Run& run, uint32_t slot) const {
  for (uint32_t i = 0; i < run.segmentCount; ++i) {
    if (sets_.has(run.segments()[i].owner, slot)) return true;
  }
  return false;
}

bool Tier::has(uint32_t slot, uint64_t hash) const {
  Place place;
  return table_.find(hash, place) && ownsAt(runs_[place.run], place.offset, slot);
}

// To be called before the slot gets its first block of a stretch in the run.
void Tier::noteRun(uint32_t slot, uint32_t id) {
  SlotState& state = stateOf(slot);
  if (state.runs.size() >= state.sweepAt) {
    std::sort(state.runs.begin(), state.runs.end());
    state.runs.erase(std::unique(state.runs.begin(), state.runs.end()), state.runs.end());
    std::erase_if(state.runs, [&](uint32_t run) { return !ownsIn(runs_[run], slot); });
    state.sweepAt = state.runs.size() * 2 + 64;
  }
  state.runs.push_back(id);
}

uint64_t Tier::forgetSome(uint32_t slot) {
  if (slot >= slots_.size()) return 0;
  std::vector<uint32_t>& runs = slots_[slot].runs;
  if (runs.empty()) {
    slots_[slot] = {};
    return 0;
  }
  const uint32_t id = runs.back();
  runs.pop_back();
  const uint32_t length = runs_[id].length;
  if (length > 0) disown(slot, id, 0, length);
  return length + uint64_t{1};
}

void Tier::remove(uint32_t slot, Hashes hashes, Counts& counts) {
  for (size_t i = 0; i < hashes.count; ++i) table_.prefetch(hashes[i]);
  for (size_t i = 0; i < hashes.count;) {
    Place place;
    if (!table_.find(hashes[i], place)) {
      ++counts.unmatchedRemovals;
      ++i;
      continue;
    }
    // Whole stretches of a run at once, forwards or, as leaves go first, backwards.
    const Run& run = runs_[place.run];
    const Segment& segment = run.segments()[run.segmentAt(place.offset)];
    const uint32_t start = run.segmentStart(run.segmentAt(place.offset));
    uint32_t count = 1;
    while (i + count < hashes.count && place.offset + count < segment.end &&
           run.hashes()[place.offset + count] == hashes[i + count]) {
      ++count;
    }
    uint32_t from = place.offset;
    if (count == 1) {
      while (i + count < hashes.count && place.offset - start >= count && run.hashes()[place.offset - count] == hashes[i + count]) {
        ++count;
      }
      from = place.offset + 1 - count;
    }
    const uint64_t gone = disown(slot, place.run, from, from + count);
    counts.removed += gone;
    counts.unmatchedRemovals += count - gone;
    i += count;
  }
}

uint64_t Tier::disown(uint32_t slot, uint32_t id, uint32_t from, uint32_t to) {
  Run& run = runs_[id];
  uint64_t gone = 0;
  uint32_t died = 0;
  const uint32_t first = run.segmentAt(from);
  bool any = false;
  for (uint32_t i = first; !any && i < run.segmentCount && run.segmentStart(i) < to; ++i) {
    any = sets_.has(run.segments()[i].owner, slot);
  }
  if (!any) return 0;
  edit(run, from, to, [&](Owner owner, uint32_t begin, uint32_t end) {
    if (!sets_.has(owner, slot)) return owner;
    gone += end - begin;
    const Owner left = sets_.without(owner, slot);
    if (left == kNobody) {
      died += end - begin;
      for (uint32_t o = begin; o < end; ++o) table_.erase(run.hashes()[o], {id, o});
    }
    return left;
  });
  slots_[slot].entries -= gone;
  if (died > 0) {
    run.dead = static_cast<uint16_t>(run.dead + died);
    room_.blocks -= died;
    tidy(id);
  }
  return gone;
}

// Drops dead blocks at the end of a run, and a run that holds more dead than living ones.
void Tier::tidy(uint32_t id) {
  Run& run = runs_[id];
  const uint32_t last = run.segmentCount - 1u;
  if (run.segments()[last].owner == kNobody) {
    const uint32_t start = run.segmentStart(last);
    run.dead = static_cast<uint16_t>(run.dead - (run.length - start));
    run.length = static_cast<uint16_t>(start);
    runs_.splice(run, last, last + 1, nullptr, 0);
    if (start == 0) return runs_.destroy(id);
    runs_.shrink(run);
  }
  if (run.dead > run.length - run.dead + 32) compact(id);
}

void Tier::compact(uint32_t id) {
  Run& run = runs_[id];
  for (uint32_t i = 0; i < run.segmentCount; ++i) {
    if (run.segments()[i].owner == kNobody) continue;
    uint32_t end = i + 1;
    while (end < run.segmentCount && run.segments()[end].owner != kNobody) ++end;
    moveStretch(id, i, end);
    i = end;
  }
  runs_.destroy(id);
}

// Moves the blocks of segments [first, last) to a run of their own.
void Tier::moveStretch(uint32_t from, uint32_t first, uint32_t last) {
  const Run& run = runs_[from];
  const uint32_t start = run.segmentStart(first);
  const uint32_t end = run.segments()[last - 1].end;
  const uint32_t id = runs_.createAbove(from, start > 0 || run.hasParent, run.memory[start], end - start);
  Run& moved = runs_[id];
  moved.length = static_cast<uint16_t>(end - start);
  for (uint32_t o = start; o < end; ++o) {
    moved.hashes()[o - start] = run.hashes()[o];
    table_.move(run.hashes()[o], {from, o}, {id, o - start});
  }
  scratch_.assign(run.segments() + first, run.segments() + last);
  for (Segment& segment : scratch_) segment.end -= start;
  runs_.splice(moved, 0, 0, scratch_.data(), static_cast<uint32_t>(scratch_.size()));
  for (uint32_t i = 0; i < moved.segmentCount; ++i) {
    sets_.forEach(moved.segments()[i].owner, [&](uint32_t slot) {
      if (i == 0 || !sets_.has(moved.segments()[i - 1].owner, slot)) noteRun(slot, id);
    });
  }
}

size_t Tier::bytes() const {
  size_t logs = slots_.capacity() * sizeof(SlotState);
  for (const SlotState& slot : slots_) logs += slot.runs.capacity() * sizeof(uint32_t);
  return logs + runs_.bytes() + table_.bytes();
}

}  // namespace stator
