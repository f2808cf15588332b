#include "block_table.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace stator {
namespace {

constexpr double kMaxLoad = 0.85;
constexpr double kMinLoad = 0.4;
constexpr double kGrowth = 1.35;

uint32_t spareFor(uint32_t capacity) { return std::min(64u, 8 + capacity / 16); }

// Parts start with different sizes, so that they do not all grow at the same time.
uint32_t firstCapacity(uint32_t part) { return 8 + part % 3; }

uint32_t grown(uint32_t capacity, uint32_t part) {
  // Jitter keeps them apart.
  const double factor = kGrowth + static_cast<double>(part % 16) / 160;
  return static_cast<uint32_t>(std::ceil(capacity * factor));
}

}  // namespace

BlockTable::BlockTable(const RunPool& runs)
    : runs_(runs), parts_(std::make_unique<Part[]>(kParts)), bytes_(kParts * sizeof(Part)) {}

BlockTable::~BlockTable() {
  for (uint32_t i = 0; i < kParts; ++i) std::free(parts_[i].entries);
}

uint32_t BlockTable::likelyRun(uint64_t hash) const {
  const Key key = keyOf(hash);
  const Part& part = parts_[key.part];
  if (part.count == 0) return 0;
  const uint64_t* entry = part.entries + home(key.tag, part.capacity);
  while (*entry != 0 && (*entry >> 44) < key.tag) ++entry;
  return *entry >> 44 == key.tag ? static_cast<uint32_t>(*entry) : 0;
}

void BlockTable::insert(uint64_t hash, Place place) {
  const Key key = keyOf(hash);
  Part& part = parts_[key.part];
  if (part.count + 1 > part.capacity * kMaxLoad) {
    const uint32_t capacity = part.capacity == 0 ? firstCapacity(key.part) : grown(part.capacity, key.part);
    rebuild(part, capacity, spareFor(capacity));
  }
  for (;;) {
    uint64_t* at = part.entries + home(key.tag, part.capacity);
    while (*at != 0 && (*at >> 44) <= key.tag) ++at;
    uint64_t* empty = at;
    while (*empty != 0) ++empty;
    if (empty < part.entries + part.capacity + part.room) {
      std::memmove(at + 1, at, static_cast<size_t>(empty - at) * sizeof(uint64_t));
      *at = entryOf(key.tag, place);
      break;
    }
    // Pushed over the end: more room there.
    rebuild(part, part.capacity, part.room * 2 + 8);
  }
  ++part.count;
  ++count_;
}

void BlockTable::erase(uint64_t hash, Place place) {
  const Key key = keyOf(hash);
  Part& part = parts_[key.part];
  uint64_t* hole = locate(part, key.tag, place);
  uint64_t* end = hole + 1;
  while (*end != 0 && part.entries + home(static_cast<uint32_t>(*end >> 44), part.capacity) < end) ++end;
  std::memmove(hole, hole + 1, static_cast<size_t>(end - hole - 1) * sizeof(uint64_t));
  end[-1] = 0;
  --part.count;
  --count_;
  if (part.capacity > 16 && part.count < part.capacity * kMinLoad) {
    const auto capacity = static_cast<uint32_t>(part.count / 0.65) + 8;
    rebuild(part, capacity, spareFor(capacity));
  }
}

void BlockTable::move(uint64_t hash, Place from, Place to) {
  const Key key = keyOf(hash);
  *locate(parts_[key.part], key.tag, from) = entryOf(key.tag, to);
}

uint64_t* BlockTable::locate(Part& part, uint32_t tag, Place place) const {
  const uint64_t wanted = entryOf(tag, place);
  uint64_t* entry = part.entries + home(tag, part.capacity);
  while (*entry != wanted) {
    if (*entry == 0) throw std::logic_error("a block of a run is missing in the table");
    ++entry;
  }
  return entry;
}

void BlockTable::rebuild(Part& part, uint32_t capacity, uint32_t room) {
  const uint64_t* old = part.entries;
  const size_t oldSize = old == nullptr ? 0 : part.capacity + part.room;
  const size_t size = size_t{capacity} + room + 1;
  auto* entries = static_cast<uint64_t*>(std::calloc(size, sizeof(uint64_t)));
  if (entries == nullptr) throw std::bad_alloc();
  size_t next = 0;
  for (size_t i = 0; i < oldSize; ++i) {
    const uint64_t entry = old[i];
    if (entry == 0) continue;
    next = std::max<size_t>(next, home(static_cast<uint32_t>(entry >> 44), capacity));
    if (next + 1 >= size) {
      // The last ones are pushed over the end: more room there.
      std::free(entries);
      return rebuild(part, capacity, room * 2 + 8);
    }
    entries[next++] = entry;
  }
  std::free(part.entries);
  bytes_ += size * sizeof(uint64_t);
  if (old != nullptr) bytes_ -= (oldSize + 1) * sizeof(uint64_t);
  part.entries = entries;
  part.capacity = capacity;
  part.room = room;
}

}  // namespace stator
