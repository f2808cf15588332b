#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "counts.h"
#include "hashes.h"
#include "index.h"

namespace stator {

// One stator.events.v1.KvEvent; hashes point into the message.
struct Event {
  enum class Kind : uint8_t { kNone, kStored, kRemoved, kCleared };

  uint64_t sequenceNumber = 0;
  uint32_t rank = 0;
  Kind kind = Kind::kNone;
  bool hasParent = false;
  uint64_t tier = 0;  // As the contract counts: 0 unstated, 1 device.
  uint64_t parent = 0;
  Hashes hashes;
};

// A stator.engine.v1.SubscribeKvEventsResponse, read straight from its wire.
struct Message {
  std::vector<Event> events;
  uint64_t newestSequenceNumber = 0;
  bool snapshot = false;
  bool snapshotEnd = false;
};

// What a message did; mirrors AppliedMessage of core/kv-index/kv-index.ts.
struct Applied {
  Counts counts;
  uint64_t cleared = 0;
  uint64_t unknownRank = 0;
  uint64_t unknownChange = 0;
};

// Throws MalformedMessage.
void readMessage(const uint8_t* bytes, size_t length, Message& message);

// Data parallel ranks of a message, each once, with their slots.
using RankSlots = std::vector<std::pair<uint32_t, std::optional<uint32_t>>>;

void collectRanks(const Message& message, RankSlots& ranks);

Applied applyMessage(Index& index, const Message& message, const RankSlots& ranks);

}  // namespace stator
