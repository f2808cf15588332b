#include "message.h"

#include <algorithm>

#include "wire.h"

namespace stator {
namespace {

// Field numbers: proto/stator/engine/v1/engine.proto and proto/stator/events/v1/events.proto.
// A field of another wire type than the contract's is skipped as unknown.

Hashes readHashes(WireReader& reader) {
  const WireReader column = reader.bytes();
  if (column.left() % sizeof(uint64_t) != 0) {
    throw MalformedMessage("a column of sequence hashes has a length that is no multiple of 8");
  }
  return {column.at(), column.left() / sizeof(uint64_t)};
}

void readStored(WireReader reader, Event& event) {
  while (!reader.done()) {
    const Field field = reader.field();
    if (field.number == 1 && field.wire == Wire::kFixed64) {
      event.hasParent = true;
      event.parent = reader.fixed64();
    } else if (field.number == 2 && field.wire == Wire::kBytes) {
      event.hashes = readHashes(reader);
    } else if (field.number == 4 && field.wire == Wire::kVarint) {
      event.tier = reader.varint();
    } else {
      reader.skip(field);
    }
  }
}

void readRemoved(WireReader reader, Event& event) {
  while (!reader.done()) {
    const Field field = reader.field();
    if (field.number == 1 && field.wire == Wire::kBytes) {
      event.hashes = readHashes(reader);
    } else if (field.number == 2 && field.wire == Wire::kVarint) {
      event.tier = reader.varint();
    } else {
      reader.skip(field);
    }
  }
}

void readCleared(WireReader reader) {
  while (!reader.done()) reader.skip(reader.field());
}

// The last change counts; the parts of one that comes in pieces are merged.
void readChange(Event::Kind kind, WireReader reader, Event& event) {
  if (event.kind != kind) {
    event.kind = kind;
    event.hasParent = false;
    event.tier = 0;
    event.hashes = {};
  }
  if (kind == Event::Kind::kStored) return readStored(reader, event);
  if (kind == Event::Kind::kRemoved) return readRemoved(reader, event);
  readCleared(reader);
}

void readEvent(WireReader reader, Event& event) {
  while (!reader.done()) {
    const Field field = reader.field();
    if (field.number == 1 && field.wire == Wire::kVarint) {
      event.sequenceNumber = reader.varint();
    } else if (field.number == 2 && field.wire == Wire::kVarint) {
      event.rank = static_cast<uint32_t>(reader.varint());
    } else if (field.number >= 3 && field.number <= 5 && field.wire == Wire::kBytes) {
      constexpr Event::Kind kKinds[] = {Event::Kind::kStored, Event::Kind::kRemoved, Event::Kind::kCleared};
      readChange(kKinds[field.number - 3], reader.bytes(), event);
    } else {
      reader.skip(field);
    }
  }
}

void readBatch(WireReader reader, std::vector<Event>& events) {
  while (!reader.done()) {
    const Field field = reader.field();
    if (field.number == 1 && field.wire == Wire::kBytes) {
      readEvent(reader.bytes(), events.emplace_back());
    } else {
      reader.skip(field);
    }
  }
}

void applyEvent(Index& index, const Event& event, uint32_t slot, Applied& applied) {
  // Unstated means device, as core/kv-index reads it; enums are 32 bits with sign.
  const auto stated = static_cast<int32_t>(event.tier);
  const uint32_t tier = stated <= 0 ? 0 : static_cast<uint32_t>(stated - 1);
  const bool unknownTier = stated < 0 || tier >= kTiers;
  switch (event.kind) {
    case Event::Kind::kStored:
      if (unknownTier) break;
      return index.store(slot, tier, event.hasParent ? &event.parent : nullptr, event.hashes, applied.counts);
    case Event::Kind::kRemoved:
      if (unknownTier) break;
      return index.remove(slot, tier, event.hashes, applied.counts);
    case Event::Kind::kCleared:
      ++applied.cleared;
      return index.clearSlot(slot);
    case Event::Kind::kNone: break;
  }
  ++applied.unknownChange;
}

}  // namespace

void readMessage(const uint8_t* bytes, size_t length, Message& message) {
  message.events.clear();
  message.newestSequenceNumber = 0;
  message.snapshot = false;
  message.snapshotEnd = false;
  WireReader reader(bytes, length);
  while (!reader.done()) {
    const Field field = reader.field();
    if (field.number == 1 && field.wire == Wire::kBytes) {
      readBatch(reader.bytes(), message.events);
    } else if (field.number == 2 && field.wire == Wire::kVarint) {
      message.snapshot = reader.varint() != 0;
    } else if (field.number == 3 && field.wire == Wire::kVarint) {
      message.snapshotEnd = reader.varint() != 0;
    } else if (field.number == 4 && field.wire == Wire::kVarint) {
      message.newestSequenceNumber = reader.varint();
    } else {
      reader.skip(field);
    }
  }
}

void collectRanks(const Message& message, RankSlots& ranks) {
  ranks.clear();
  for (const Event& event : message.events) {
    const auto same = [&](const auto& entry) { return entry.first == event.rank; };
    if (std::none_of(ranks.begin(), ranks.end(), same)) ranks.emplace_back(event.rank, std::nullopt);
  }
}

Applied applyMessage(Index& index, const Message& message, const RankSlots& ranks) {
  Applied applied;
  for (const Event& event : message.events) {
    const auto same = [&](const auto& entry) { return entry.first == event.rank; };
    const std::optional<uint32_t> slot = std::find_if(ranks.begin(), ranks.end(), same)->second;
    if (slot) {
      applyEvent(index, event, *slot, applied);
    } else {
      ++applied.unknownRank;
    }
  }
  return applied;
}

}  // namespace stator
