#include "memory.h"

#include <sys/mman.h>

#include <map>
#include <mutex>

namespace stator::hostmem {
namespace {

constexpr size_t kHugePage = 2u << 20;

struct Owned {
  std::mutex mutex;
  std::map<const uint8_t*, MappingRef> byStart;
};

// Never destroyed: threads may outlive static objects.
Owned& owned() {
  static Owned* const all = new Owned;
  return *all;
}

}  // namespace

Mapping::~Mapping() {
  munmap(reserved, reservedBytes);
  if (unmapped) unmapped();
}

MappingRef mapAnonymous(size_t bytes) {
  const size_t mapped = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* raw = mmap(nullptr, mapped + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return nullptr;
  const auto start = (reinterpret_cast<uintptr_t>(raw) + kHugePage - 1) / kHugePage * kHugePage;
  auto* data = reinterpret_cast<uint8_t*>(start);
  madvise(data, mapped, MADV_HUGEPAGE);
  return std::make_shared<Mapping>(raw, mapped + kHugePage, data, bytes);
}

void own(const MappingRef& mapping) {
  std::lock_guard lock(owned().mutex);
  owned().byStart[mapping->data] = mapping;
}

MappingRef holdOf(const void* address) {
  const auto* place = static_cast<const uint8_t*>(address);
  std::lock_guard lock(owned().mutex);
  auto next = owned().byStart.upper_bound(place);
  if (next == owned().byStart.begin()) return nullptr;
  const MappingRef& mapping = std::prev(next)->second;
  return place < mapping->data + mapping->bytes ? mapping : nullptr;
}

void forget(const Mapping* mapping) {
  MappingRef last;  // released outside of the lock
  std::lock_guard lock(owned().mutex);
  for (auto entry = owned().byStart.begin(); entry != owned().byStart.end(); ++entry) {
    if (entry->second.get() != mapping) continue;
    last = std::move(entry->second);
    owned().byStart.erase(entry);
    return;
  }
}

}  // namespace stator::hostmem
