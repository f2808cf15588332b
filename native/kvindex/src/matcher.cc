#include "matcher.h"

#include <algorithm>

#include "lanes.h"

namespace stator {
namespace {

// Leading blocks that two chains share, when they share the first. A hash stands for its whole prefix, so an equal last block means
// that all are equal, and the place of the difference can be searched by halves.
uint32_t commonBlocks(const uint64_t* run, Hashes prompt, size_t at, uint32_t longest) {
  if (run[longest - 1] == prompt[at + longest - 1]) return longest;
  uint32_t equal = 1;
  uint32_t most = longest - 1;
  while (equal < most) {
    const uint32_t middle = (equal + most + 1) / 2;
    if (run[middle - 1] == prompt[at + middle - 1]) {
      equal = middle;
    } else {
      most = middle - 1;
    }
  }
  return equal;
}

}  // namespace

size_t Matcher::walk(const Tier& tier, Hashes prompt, size_t start, const uint64_t* starting, uint32_t* out) {
  starting_ = starting;
  out_ = out;
  start_ = start;
  state_ = Alive::kStarting;
  Owner previous = kNobody;
  size_t at = start;
  Place place;
  while (at < prompt.count && tier.table().find(prompt[at], place)) {
    const Run& run = tier.runs()[place.run];
    const auto longest = static_cast<uint32_t>(std::min<size_t>(prompt.count - at, run.length - place.offset));
    const uint32_t common = commonBlocks(run.hashes() + place.offset, prompt, at, longest);
    const uint32_t end = place.offset + common;
    const Segment* segments = run.segments();
    uint32_t offset = place.offset;
    for (uint32_t i = run.segmentAt(offset); offset < end; ++i) {
      // Dead here; the block may live elsewhere.
      if (segments[i].owner == kNobody) break;
      if (segments[i].owner != previous) {
        previous = segments[i].owner;
        narrow(previous, at + (offset - place.offset));
        if (state_ == Alive::kNone) return at + (offset - place.offset);
      }
      offset = std::min(segments[i].end, end);
    }
    at += offset - place.offset;
  }
  dropAll(at);
  return at;
}

void Matcher::narrow(Owner owner, size_t at) {
  if (isSet(owner)) {
    narrowToSet(owner, at);
  } else {
    narrowToOne(owner, at);
  }
}

bool Matcher::isAlive(uint32_t slot) const {
  if (state_ == Alive::kOne) return one_ == slot;
  const uint64_t* bits = state_ == Alive::kStarting ? starting_ : alive_.data();
  return (bits[slot / 64] >> (slot % 64)) & 1;
}

void Matcher::narrowToOne(uint32_t slot, size_t at) {
  if (!isAlive(slot)) return dropAll(at);
  if (state_ == Alive::kMany) {
    alive_[slot / 64] &= ~(uint64_t{1} << (slot % 64));
    fillLanes(out_, alive_.data(), words_, static_cast<uint32_t>(at - start_));
  }
  state_ = Alive::kOne;
  one_ = slot;
}

void Matcher::narrowToSet(Owner set, size_t at) {
  if (state_ == Alive::kOne) {
    if (!sets_.has(set, one_)) dropAll(at);
    return;
  }
  const OwnerSets::Bits owners = sets_.bits(set);
  const uint64_t* before = state_ == Alive::kStarting ? starting_ : alive_.data();
  const size_t shared = std::min<size_t>(owners.count, words_);
  uint64_t anyAlive = 0;
  uint64_t anyDropped = 0;
  for (size_t w = 0; w < words_; ++w) {
    const uint64_t was = before[w];
    const uint64_t is = was & (w < shared ? owners.words[w] : 0);
    alive_[w] = is;
    dropped_[w] = was ^ is;
    anyAlive |= is;
    anyDropped |= was ^ is;
  }
  if (anyDropped != 0 && at > start_) fillLanes(out_, dropped_.data(), words_, static_cast<uint32_t>(at - start_));
  state_ = anyAlive != 0 ? Alive::kMany : Alive::kNone;
}

void Matcher::dropAll(size_t at) {
  const auto matched = static_cast<uint32_t>(at - start_);
  if (state_ == Alive::kOne) {
    out_[one_] = matched;
  } else if (state_ == Alive::kMany) {
    fillLanes(out_, alive_.data(), words_, matched);
  }
  state_ = Alive::kNone;
}

}  // namespace stator
