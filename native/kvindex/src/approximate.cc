#include "approximate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

namespace stator {
namespace {

// Deadlines are multiples of this.
constexpr double kStepMs = 100;

constexpr uint32_t kMaxSlots = 1u << 20;

}  // namespace

void Approximate::record(uint32_t slot, Hashes hashes, double nowMs) {
  requireSlot(slot);
  expire(nowMs);
  const auto deadline =
      options_.ttlMs == 0 ? UINT64_MAX : static_cast<uint64_t>(std::ceil((nowMs_ + static_cast<double>(options_.ttlMs)) / kStepMs));
  Recency::List& list = slots_[slot].blocks;
  bool all = true;
  // The end of a prompt is of less use than its start, so it is the first to go.
  for (size_t i = hashes.count; i-- > 0;) {
    if (!held_.touch(list, slot, hashes[i], deadline, held_.size() < options_.maxBlocks)) all = false;
  }
  storeTaken(slot, hashes, all);
  if (options_.blocksPerSlot == 0) return;
  while (list.count > slots_[slot].limit) evictOldest(slot);
}

void Approximate::storeTaken(uint32_t slot, Hashes hashes, bool all) {
  Counts counts;
  if (all) return tier_.store(slot, nullptr, hashes, counts);
  for (size_t i = 0; i < hashes.count; ++i) {
    if (!held_.has(slot, hashes[i])) continue;
    const uint64_t parent = i > 0 ? hashes[i - 1] : 0;
    tier_.store(slot, i > 0 ? &parent : nullptr, {hashes.bytes + i * sizeof(uint64_t), 1}, counts);
  }
}

size_t Approximate::match(Hashes prompt, uint32_t* device, size_t length, double nowMs) {
  expire(nowMs);
  if (length < slots_.size()) throw std::out_of_range("The overlaps do not reach to every slot.");
  std::memset(device, 0, length * sizeof(uint32_t));
  return matcher_.walk(tier_, prompt, 0, everySlot_.data(), device);
}

void Approximate::removeSlot(uint32_t slot) {
  if (slot >= slots_.size()) return;
  while (slots_[slot].blocks.count > 0) held_.removeOldest(slots_[slot].blocks);
  while (tier_.forgetSome(slot) > 0) continue;
  slots_[slot].limit = options_.blocksPerSlot;
}

void Approximate::limitSlot(uint32_t slot, uint32_t blocks) {
  requireSlot(slot);
  slots_[slot].limit = blocks;
}

void Approximate::expire(double nowMs) {
  nowMs_ = std::max(nowMs_, nowMs);
  const auto step = static_cast<uint64_t>(nowMs_ / kStepMs);
  if (options_.ttlMs == 0 || step == step_) return;
  step_ = step;
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    const Recency::List& list = slots_[slot].blocks;
    while (list.count > 0 && held_.at(list.oldest).deadline <= step) evictOldest(slot);
  }
}

void Approximate::evictOldest(uint32_t slot) {
  Recency::List& list = slots_[slot].blocks;
  const uint64_t hash = held_.at(list.oldest).hash;
  held_.removeOldest(list);
  Counts counts;
  tier_.remove(slot, {reinterpret_cast<const uint8_t*>(&hash), 1}, counts);
}

void Approximate::requireSlot(uint32_t slot) {
  if (slot >= kMaxSlots) throw std::out_of_range("Slot " + std::to_string(slot) + " is too high.");
  if (slot < slots_.size()) return;
  slots_.resize(slot + 1, {{}, options_.blocksPerSlot});
  everySlot_.resize((slots_.size() + 63) / 64);
  for (size_t i = 0; i < slots_.size(); ++i) everySlot_[i / 64] |= uint64_t{1} << (i % 64);
  matcher_.resize(slots_.size());
}

size_t Approximate::bytes() const {
  return sizeof(Approximate) + sets_.bytes() + tier_.bytes() + held_.bytes() + slots_.capacity() * sizeof(SlotList);
}

}  // namespace stator
