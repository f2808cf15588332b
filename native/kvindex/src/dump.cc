#include "dump.h"

#include <algorithm>

namespace stator {
namespace {

void add(Dump& dump, const Run& run, uint32_t from, uint32_t to, uint32_t tier, uint32_t slot) {
  dump.slots.push_back(slot);
  dump.tiers.push_back(tier);
  dump.hasParent.push_back(from > 0 || run.hasParent ? 1 : 0);
  // memory[0] is the parent, so that memory[from] is the block before hash `from`.
  dump.parents.push_back(run.memory[from]);
  dump.hashes.insert(dump.hashes.end(), run.hashes() + from, run.hashes() + to);
  dump.ends.push_back(static_cast<uint32_t>(dump.hashes.size()));
}

// Goes on with one run; false when the dump is full, with `at` where to go on.
bool dumpRun(const Index& index, const Run& run, DumpCursor& at, uint64_t maxBlocks, Dump& dump) {
  if (at.offset >= run.length) return true;
  for (uint32_t i = run.segmentAt(at.offset); i < run.segmentCount; ++i) {
    const uint32_t start = std::max(run.segmentStart(i), at.offset);
    const uint32_t end = run.segments()[i].end;
    bool full = false;
    index.sets().forEach(run.segments()[i].owner, [&](uint32_t slot) {
      if (full || slot < at.slot || !index.isLive(slot)) return;
      if (dump.hashes.size() >= maxBlocks) {
        full = true;
        at.offset = start;
        at.slot = slot;
        return;
      }
      add(dump, run, start, end, at.tier, slot);
    });
    if (full) return false;
    at.offset = end;
    at.slot = 0;
  }
  return true;
}

}  // namespace

Dump dump(const Index& index, DumpCursor from, uint64_t maxBlocks) {
  Dump dump;
  for (DumpCursor at = from; at.tier < kTiers; at = {at.tier + 1, 1, 0, 0}) {
    const RunPool& runs = index.tier(at.tier).runs();
    for (; at.position < runs.limit(); at = {at.tier, at.position + 1, 0, 0}) {
      if (dumpRun(index, runs[at.position], at, maxBlocks, dump)) continue;
      dump.next = at;
      return dump;
    }
  }
  return dump;
}

}  // namespace stator
