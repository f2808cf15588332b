#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace stator {

// One change of the set of cached blocks, as KvEvent in proto/stator/events/v1.
struct KvChange {
  enum class Kind { kStored, kRemoved };
  Kind kind;
  std::optional<uint64_t> parent;      // stored: sequence hash of the block before the first
  uint32_t startBlock = 0;             // stored: position of the first block
  std::vector<uint64_t> sequence = {}; // sequence hashes
  std::vector<uint64_t> local = {};    // stored: local hashes
};

// Collects changes in order and joins neighbours that one event can carry.
class KvChanges {
 public:
  void stored(std::optional<uint64_t> parent, uint32_t index, uint64_t sequence, uint64_t local) {
    if (changes_.empty() || !continues(changes_.back(), parent, index)) {
      changes_.push_back({KvChange::Kind::kStored, parent, index});
    }
    changes_.back().sequence.push_back(sequence);
    changes_.back().local.push_back(local);
  }

  void removed(uint64_t sequence) {
    if (changes_.empty() || changes_.back().kind != KvChange::Kind::kRemoved) {
      changes_.push_back({KvChange::Kind::kRemoved, std::nullopt});
    }
    changes_.back().sequence.push_back(sequence);
  }

  std::vector<KvChange> take() { return std::exchange(changes_, {}); }

 private:
  static bool continues(const KvChange& last, std::optional<uint64_t> parent, uint32_t index) {
    return last.kind == KvChange::Kind::kStored && parent && last.sequence.back() == *parent &&
           last.startBlock + last.sequence.size() == index;
  }

  std::vector<KvChange> changes_;
};

}  // namespace stator
