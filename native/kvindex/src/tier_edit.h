#pragma once

#include "tier.h"

namespace stator {

// Gives blocks [from, to) of a run other owners. change(owner, from, to) consumes a reference and returns one.
template <typename Change>
void Tier::edit(Run& run, uint32_t from, uint32_t to, Change&& change) {
  const Segment* all = run.segments();
  uint32_t first = run.segmentAt(from);
  uint32_t last = first;
  scratch_.clear();
  // Equal neighbours become one segment, which holds one reference.
  const auto add = [&](uint32_t end, Owner owner) {
    if (!scratch_.empty() && scratch_.back().owner == owner) {
      scratch_.back().end = end;
      sets_.release(owner);
    } else {
      scratch_.push_back({end, owner});
    }
  };
  uint32_t start = run.segmentStart(first);
  if (first > 0 && start == from) {
    --first;
    scratch_.push_back(all[first]);
  }
  for (uint32_t at = from; at < to; ++last) {
    const Segment segment = all[last];
    const uint32_t end = segment.end < to ? segment.end : to;
    if (start < at) add(at, sets_.retain(segment.owner));
    const bool goesOn = end < segment.end;
    if (goesOn) sets_.retain(segment.owner);
    add(end, change(segment.owner, at, end));
    if (goesOn) add(segment.end, segment.owner);
    start = segment.end;
    at = end;
  }
  if (last < run.segmentCount) {
    add(all[last].end, all[last].owner);
    ++last;
  }
  runs_.splice(run, first, last, scratch_.data(), static_cast<uint32_t>(scratch_.size()));
}

}  // namespace stator
