#include "run_pool.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace stator {
namespace {

// What an allocation costs: malloc's header and rounding.
size_t cost(size_t bytes) { return (bytes + 8 + 15) & ~size_t{15}; }

// An even capacity fills malloc's 16-byte grain together with the parent and the header.
uint32_t even(uint32_t capacity) { return (capacity + 1) & ~1u; }

size_t hashBytes(uint32_t capacity) { return (capacity + size_t{1}) * sizeof(uint64_t); }

void* resized(void* memory, size_t bytes) {
  void* moved = std::realloc(memory, bytes);
  if (moved == nullptr) throw std::bad_alloc();
  return moved;
}

}  // namespace

uint32_t Run::segmentAt(uint32_t offset) const {
  const Segment* all = segments();
  if (segmentCount <= 4) {
    uint32_t i = 0;
    while (all[i].end <= offset) ++i;
    return i;
  }
  const auto* found = std::upper_bound(all, all + segmentCount, offset, [](uint32_t o, const Segment& s) { return o < s.end; });
  return static_cast<uint32_t>(found - all);
}

RunPool::~RunPool() {
  for (uint32_t id = 1; id < next_; ++id) {
    Run& run = (*this)[id];
    std::free(run.memory);
    if (run.segmentCount > Run::kInline) std::free(run.heap.segments);
  }
}

uint32_t RunPool::take(uint32_t above) {
  if (!free_.empty()) {
    // Among many free numbers any will do: the pool must not grow without end.
    const bool many = free_.size() > 1024 && free_.size() > live();
    if (free_.back() > above || many) {
      const uint32_t id = free_.back();
      free_.pop_back();
      return id;
    }
  }
  if (next_ == UINT32_MAX) throw std::bad_alloc();
  if ((next_ >> kChunkBits) >= chunks_.size()) chunks_.push_back(std::make_unique<Run[]>(size_t{1} << kChunkBits));
  return next_++;
}

uint32_t RunPool::create(bool hasParent, uint64_t parent, uint32_t capacity) {
  return open(take(0), hasParent, parent, capacity);
}

uint32_t RunPool::createAbove(uint32_t above, bool hasParent, uint64_t parent, uint32_t capacity) {
  return open(take(above), hasParent, parent, capacity);
}

uint32_t RunPool::open(uint32_t id, bool hasParent, uint64_t parent, uint32_t capacity) {
  Run& run = (*this)[id];
  run = {};
  run.hasParent = hasParent;
  resize(run, std::min(even(capacity), Run::kMaxLength));
  run.memory[0] = parent;
  return id;
}

void RunPool::destroy(uint32_t id) {
  Run& run = (*this)[id];
  heapBytes_ -= cost(hashBytes(run.capacity));
  std::free(run.memory);
  if (run.segmentCount > Run::kInline) {
    heapBytes_ -= cost(run.heap.capacity * sizeof(Segment));
    std::free(run.heap.segments);
  }
  run = {};
  free_.push_back(id);
}

void RunPool::reserve(Run& run, uint32_t length) {
  if (length <= run.capacity) return;
  const uint32_t wanted = std::max<uint32_t>(length, run.capacity + run.capacity / 4);
  resize(run, std::min(even(wanted), Run::kMaxLength));
}

void RunPool::shrink(Run& run) {
  if (run.capacity > 2u * run.length + 16) resize(run, even(run.length));
}

void RunPool::resize(Run& run, uint32_t capacity) {
  if (run.memory != nullptr) heapBytes_ -= cost(hashBytes(run.capacity));
  run.memory = static_cast<uint64_t*>(resized(run.memory, hashBytes(capacity)));
  run.capacity = static_cast<uint16_t>(capacity);
  heapBytes_ += cost(hashBytes(capacity));
}

void RunPool::splice(Run& run, uint32_t from, uint32_t to, const Segment* with, uint32_t count) {
  const uint32_t before = run.segmentCount;
  const uint32_t after = before - (to - from) + count;
  if (before <= Run::kInline && after > Run::kInline) {
    const uint32_t capacity = after + 2;
    auto* moved = static_cast<Segment*>(resized(nullptr, capacity * sizeof(Segment)));
    std::copy_n(run.inlined, before, moved);
    run.heap = {moved, capacity};
    heapBytes_ += cost(capacity * sizeof(Segment));
  } else if (after > Run::kInline && after > run.heap.capacity) {
    const uint32_t capacity = after + after / 2;
    run.heap.segments = static_cast<Segment*>(resized(run.heap.segments, capacity * sizeof(Segment)));
    heapBytes_ += cost(capacity * sizeof(Segment)) - cost(run.heap.capacity * sizeof(Segment));
    run.heap.capacity = capacity;
  }
  Segment* all = before > Run::kInline || after > Run::kInline ? run.heap.segments : run.inlined;
  std::memmove(all + from + count, all + to, (before - to) * sizeof(Segment));
  std::copy_n(with, count, all + from);
  if (before > Run::kInline && after <= Run::kInline) {
    Segment kept[Run::kInline] = {};
    std::copy_n(all, after, kept);
    heapBytes_ -= cost(run.heap.capacity * sizeof(Segment));
    std::free(all);
    std::copy_n(kept, Run::kInline, run.inlined);
  }
  run.segmentCount = static_cast<uint16_t>(after) & 0x7fff;
}

size_t RunPool::bytes() const {
  return heapBytes_ + chunks_.size() * (sizeof(Run) << kChunkBits) + free_.capacity() * sizeof(uint32_t);
}

}  // namespace stator
