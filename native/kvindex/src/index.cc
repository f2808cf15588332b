#include "index.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

namespace stator {
namespace {

constexpr uint32_t kNoSlot = 0xffffffff;

}  // namespace

Index::Index(const IndexOptions& options)
    : options_(options), room_{0, options.maxBlocks}, hits_(options.hitWindow), matcher_(sets_) {
  for (auto& tier : tiers_) tier = std::make_unique<Tier>(sets_, room_);
}

uint32_t Index::addSlot() {
  uint32_t slot = slotLimit_;
  if (!freeSlots_.empty()) {
    std::pop_heap(freeSlots_.begin(), freeSlots_.end(), std::greater<>());
    slot = freeSlots_.back();
    freeSlots_.pop_back();
  } else {
    if (slotLimit_ >= options_.maxSlots) {
      throw std::out_of_range("All " + std::to_string(options_.maxSlots) + " slots are taken.");
    }
    ++slotLimit_;
    live_.resize((slotLimit_ + 63) / 64);
    group_.resize(live_.size());
    ends_.resize(slotLimit_);
    nextSlot_.resize(slotLimit_);
    matcher_.resize(slotLimit_);
  }
  live_[slot / 64] |= uint64_t{1} << (slot % 64);
  return slot;
}

void Index::removeSlot(uint32_t slot) {
  requireSlot(slot);
  live_[slot / 64] &= ~(uint64_t{1} << (slot % 64));
  removed_.push_back(slot);
}

void Index::clearSlot(uint32_t slot) {
  requireSlot(slot);
  for (auto& tier : tiers_) {
    while (tier->forgetSome(slot) > 0) continue;
  }
}

bool Index::reclaim(uint64_t budget) {
  while (!removed_.empty()) {
    const uint32_t slot = removed_.front();
    for (auto& tier : tiers_) {
      for (;;) {
        if (budget == 0) return true;
        const uint64_t done = tier->forgetSome(slot);
        if (done == 0) break;
        budget -= std::min(budget, done);
      }
    }
    removed_.erase(removed_.begin());
    freeSlots_.push_back(slot);
    std::push_heap(freeSlots_.begin(), freeSlots_.end(), std::greater<>());
  }
  return false;
}

void Index::store(uint32_t slot, uint32_t tier, const uint64_t* parent, Hashes hashes, Counts& counts) {
  requireSlot(slot);
  Tier& in = tierAt(tier);
  if (parent != nullptr && hashes.count > 0 && !in.has(slot, *parent)) {
    const auto has = [&](const auto& other) { return other->has(slot, *parent); };
    if (std::none_of(tiers_.begin(), tiers_.end(), has)) ++counts.unmatchedParents;
  }
  in.store(slot, parent, hashes, counts);
}

void Index::remove(uint32_t slot, uint32_t tier, Hashes hashes, Counts& counts) {
  requireSlot(slot);
  tierAt(tier).remove(slot, hashes, counts);
}

size_t Index::match(Hashes prompt, const Overlaps& overlaps) {
  for (uint32_t tier = 0; tier < kTiers; ++tier) {
    if (overlaps.lengths[tier] > 0) std::memset(overlaps.columns[tier], 0, overlaps.lengths[tier] * sizeof(uint32_t));
  }
  const size_t deepest = matcher_.walk(*tiers_[0], prompt, 0, live_.data(), overlaps.columns[0]);
  const bool lower = tiers_[1]->blocks() + tiers_[2]->blocks() + tiers_[3]->blocks() > 0;
  if (lower && overlaps.lengths[1] > 0) matchLower(prompt, overlaps);
  hits_.remember(prompt, deepest);
  return deepest;
}

void Index::matchLower(Hashes prompt, const Overlaps& overlaps) {
  std::copy_n(overlaps.columns[0], slotLimit_, ends_.data());
  for (uint32_t tier = 1; tier < kTiers; ++tier) {
    if (tiers_[tier]->blocks() == 0) continue;
    uint32_t* const out = overlaps.columns[tier];
    groupByEnd(tier, prompt.count);
    for (const uint32_t start : starts_) {
      std::fill(group_.begin(), group_.end(), 0);
      for (uint32_t slot = firstAt_[start]; slot != kNoSlot; slot = nextSlot_[slot]) group_[slot / 64] |= uint64_t{1} << (slot % 64);
      matcher_.walk(*tiers_[tier], prompt, start, group_.data(), out);
      firstAt_[start] = kNoSlot;
    }
    for (uint32_t slot = 0; slot < slotLimit_; ++slot) ends_[slot] += out[slot];
  }
}

// Chains the slots that have blocks in a tier by the block where they go on.
void Index::groupByEnd(uint32_t tier, size_t promptBlocks) {
  if (firstAt_.size() < promptBlocks) firstAt_.resize(promptBlocks, kNoSlot);
  starts_.clear();
  for (uint32_t slot = 0; slot < slotLimit_; ++slot) {
    const uint32_t end = ends_[slot];
    if (end >= promptBlocks || tiers_[tier]->entries(slot) == 0 || !isLive(slot)) continue;
    if (firstAt_[end] == kNoSlot) starts_.push_back(end);
    nextSlot_[slot] = firstAt_[end];
    firstAt_[end] = slot;
  }
}

void Index::prefetchRun(Hashes prompt) const {
  if (prompt.count == 0) return;
  const uint32_t run = tiers_[0]->table().likelyRun(prompt[0]);
  if (run != 0) __builtin_prefetch(&tiers_[0]->runs()[run]);
}

void Index::requireRoom(const Overlaps& overlaps) const {
  const auto& lengths = overlaps.lengths;
  const bool deviceOnly = lengths[1] == 0 && lengths[2] == 0 && lengths[3] == 0;
  const size_t shortest = deviceOnly ? lengths[0] : *std::min_element(lengths.begin(), lengths.end());
  if (shortest < slotLimit_) {
    throw std::out_of_range("The overlaps have " + std::to_string(shortest) + " elements for " + std::to_string(slotLimit_) + " slots.");
  }
}

Stats Index::stats() const {
  Stats stats;
  stats.blocks = room_.blocks;
  for (uint32_t slot = 0; slot < slotLimit_; ++slot) {
    if (!isLive(slot)) continue;
    ++stats.slots;
    for (const auto& tier : tiers_) stats.entries += tier->entries(slot);
  }
  stats.bytes = sizeof(Index) + sets_.bytes() + hits_.bytes();
  for (const auto& tier : tiers_) stats.bytes += tier->bytes();
  return stats;
}

void Index::requireSlot(uint32_t slot) const {
  if (!isLive(slot)) throw std::out_of_range("Slot " + std::to_string(slot) + " is not in use.");
}

Tier& Index::tierAt(uint32_t tier) {
  if (tier >= kTiers) throw std::out_of_range("There is no tier " + std::to_string(tier) + ".");
  return *tiers_[tier];
}

}  // namespace stator
