#include "index_api.h"

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <string>

#include "arguments.h"
#include "dump.h"
#include "index.h"
#include "message.h"
#include "method.h"

namespace stator {
namespace {

struct IndexState {
  explicit IndexState(const IndexOptions& options) : index(options) {}

  Index index;
  // Arrays that JavaScript shares: results of a call as numbers, sequence numbers, and where lookups write.
  Napi::Reference<Napi::TypedArray> resultsRef;
  Napi::Reference<Napi::TypedArray> numbersRef;
  std::array<Napi::Reference<Napi::TypedArray>, kTiers> overlapRefs;
  View<double> results;
  View<uint64_t> numbers;
  Overlaps overlaps;
  Message message;
  RankSlots ranks;
};

using State = IndexState&;
using Info = const Napi::CallbackInfo&;

constexpr size_t kResults = 12;
constexpr size_t kNumbers = 3;

void report(State state, const Counts& counts) {
  const uint64_t values[] = {counts.stored,           counts.removed,           counts.duplicates,
                             counts.unmatchedParents, counts.unmatchedRemovals, counts.dropped};
  std::copy(std::begin(values), std::end(values), state.results.data);
}

Napi::Value addSlot(State state, Info info) { return Napi::Number::New(info.Env(), state.index.addSlot()); }

Napi::Value removeSlot(State state, Info info) {
  state.index.removeSlot(uint32Of(info[0], "slot"));
  return info.Env().Undefined();
}

Napi::Value clearSlot(State state, Info info) {
  state.index.clearSlot(uint32Of(info[0], "slot"));
  return info.Env().Undefined();
}

// store(slot, tier, parent | null, hashes)
Napi::Value store(State state, Info info) {
  uint64_t parent = 0;
  const bool hasParent = !info[2].IsNull();
  if (hasParent) {
    bool lossless = false;
    if (napi_get_value_bigint_uint64(info.Env(), info[2], &parent, &lossless) != napi_ok || !lossless) {
      throw Napi::RangeError::New(info.Env(), "parent must be a bigint of 64 bits without sign");
    }
  }
  Counts counts;
  state.index.store(uint32Of(info[0], "slot"), uint32Of(info[1], "tier"), hasParent ? &parent : nullptr, hashesOf(info[3], "hashes"), counts);
  report(state, counts);
  return info.Env().Undefined();
}

// remove(slot, tier, hashes)
Napi::Value remove(State state, Info info) {
  Counts counts;
  state.index.remove(uint32Of(info[0], "slot"), uint32Of(info[1], "tier"), hashesOf(info[2], "hashes"), counts);
  report(state, counts);
  return info.Env().Undefined();
}

// applyMessage(message, slotOfRank)
Napi::Value apply(State state, Info info) {
  const View<uint8_t> bytes = bytesOf(info[0], "message");
  if (!info[1].IsFunction()) throw Napi::TypeError::New(info.Env(), "slotOfRank must be a function");
  // Taken out of the state for the time of the calls, which may apply other messages.
  Message message = std::move(state.message);
  RankSlots ranks = std::move(state.ranks);
  readMessage(bytes.data, bytes.length, message);
  collectRanks(message, ranks);
  const auto slotOfRank = info[1].As<Napi::Function>();
  for (auto& [rank, slot] : ranks) {
    const Napi::Value found = slotOfRank.Call({Napi::Number::New(info.Env(), rank)});
    if (found.IsUndefined()) continue;
    slot = uint32Of(found, "the slot of a rank");
  }
  // Checked after the last call of slotOfRank, so that every event can be applied.
  const View<uint8_t> now = bytesOf(info[0], "message");
  if (now.data != bytes.data || now.length != bytes.length) throw Napi::TypeError::New(info.Env(), "slotOfRank detached the message");
  for (const auto& [rank, slot] : ranks) {
    if (slot && !state.index.isLive(*slot)) throw std::out_of_range("Slot " + std::to_string(*slot) + " is not in use.");
  }
  const Applied applied = applyMessage(state.index, message, ranks);
  report(state, applied.counts);
  double* more = state.results.data + 6;
  more[0] = static_cast<double>(message.events.size());
  more[1] = static_cast<double>(applied.cleared);
  more[2] = static_cast<double>(applied.unknownRank);
  more[3] = static_cast<double>(applied.unknownChange);
  more[4] = message.snapshot ? 1 : 0;
  more[5] = message.snapshotEnd ? 1 : 0;
  state.numbers.data[0] = message.events.empty() ? 0 : message.events.front().sequenceNumber;
  state.numbers.data[1] = message.events.empty() ? 0 : message.events.back().sequenceNumber;
  state.numbers.data[2] = message.newestSequenceNumber;
  state.message = std::move(message);
  state.ranks = std::move(ranks);
  return info.Env().Undefined();
}

Overlaps overlapsOf(Info info, size_t first) {
  Overlaps overlaps;
  for (uint32_t tier = 0; tier < kTiers; ++tier) {
    const View<uint32_t> column = uint32s(info[first + tier], "overlaps");
    overlaps.columns[tier] = column.data;
    overlaps.lengths[tier] = column.length;
  }
  return overlaps;
}

// setOverlaps(device, host, disk, external): where match writes from now on.
Napi::Value setOverlaps(State state, Info info) {
  state.overlaps = overlapsOf(info, 0);
  for (uint32_t tier = 0; tier < kTiers; ++tier) {
    state.overlapRefs[tier] = Napi::Reference<Napi::TypedArray>::New(info[tier].As<Napi::TypedArray>(), 1);
  }
  return info.Env().Undefined();
}

// match(hashes)
Napi::Value match(State state, Info info) {
  const Hashes prompt = hashesOf(info[0], "sequenceHashes");
  state.index.requireRoom(state.overlaps);
  return Napi::Number::New(info.Env(), static_cast<double>(state.index.match(prompt, state.overlaps)));
}

// matchBatch(hashes, ends, device, host, disk, external, deepest): a row of each column for every prompt.
Napi::Value matchBatch(State state, Info info) {
  const Hashes all = hashesOf(info[0], "sequenceHashes");
  const View<uint32_t> ends = uint32s(info[1], "ends");
  const View<uint32_t> deepest = uint32s(info[6], "deepest");
  Overlaps row = overlapsOf(info, 2);
  for (size_t& length : row.lengths) length = ends.length == 0 ? 0 : length / ends.length;
  if (deepest.length < ends.length) throw std::out_of_range("deepest is shorter than ends");
  for (size_t i = 0; i < ends.length; ++i) {
    if (ends.data[i] > all.count || (i > 0 && ends.data[i] < ends.data[i - 1])) {
      throw std::out_of_range("ends must ascend within the hashes");
    }
  }
  if (ends.length > 0) state.index.requireRoom(row);
  const auto prompt = [&](size_t i) -> Hashes {
    if (i >= ends.length) return {};
    const size_t start = i == 0 ? 0 : ends.data[i - 1];
    return {all.bytes + start * sizeof(uint64_t), ends.data[i] - start};
  };
  for (size_t i = 0; i < ends.length; ++i) {
    state.index.prefetch(prompt(i + 8));
    state.index.prefetchRun(prompt(i + 4));
    deepest.data[i] = static_cast<uint32_t>(state.index.match(prompt(i), row));
    for (uint32_t tier = 0; tier < kTiers; ++tier) row.columns[tier] += row.lengths[tier];
  }
  return info.Env().Undefined();
}

// reclaim(budgetBlocks)
Napi::Value reclaim(State state, Info info) {
  const double budget = std::min(numberOf(info[0], "budgetBlocks"), 1e15);
  return Napi::Boolean::New(info.Env(), state.index.reclaim(static_cast<uint64_t>(budget)));
}

// hits(hashes, counts)
Napi::Value hits(State state, Info info) {
  const Hashes prompt = hashesOf(info[0], "sequenceHashes");
  const View<uint32_t> counts = uint32s(info[1], "counts");
  if (counts.length < prompt.count) throw std::out_of_range("counts is shorter than the prompt");
  state.index.hits(prompt, counts.data);
  return info.Env().Undefined();
}

// stats(): [blocks, entries, slots, bytes] in results.
Napi::Value stats(State state, Info info) {
  const Stats stats = state.index.stats();
  const uint64_t values[] = {stats.blocks, stats.entries, stats.slots, stats.bytes};
  std::copy(std::begin(values), std::end(values), state.results.data);
  return info.Env().Undefined();
}

template <typename Array, typename T>
Array copied(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// dump(tier, position, offset, slot, maxBlocks)
Napi::Value dumpColumns(State state, Info info) {
  DumpCursor cursor{uint32Of(info[0], "cursor"), uint32Of(info[1], "cursor"), uint32Of(info[2], "cursor"), uint32Of(info[3], "cursor")};
  cursor.position = std::max(cursor.position, 1u);
  const double most = std::clamp(numberOf(info[4], "maxBlocks"), 1.0, 1e8);
  const Dump dumped = dump(state.index, cursor, static_cast<uint64_t>(most));
  const Napi::Env env = info.Env();
  auto columns = Napi::Object::New(env);
  columns.Set("slots", copied<Napi::Uint32Array>(env, dumped.slots));
  columns.Set("tiers", copied<Napi::Uint32Array>(env, dumped.tiers));
  columns.Set("hasParent", copied<Napi::Uint32Array>(env, dumped.hasParent));
  columns.Set("parents", copied<Napi::BigUint64Array>(env, dumped.parents));
  columns.Set("ends", copied<Napi::Uint32Array>(env, dumped.ends));
  columns.Set("hashes", copied<Napi::BigUint64Array>(env, dumped.hashes));
  std::vector<uint32_t> next;
  if (dumped.next) next = {dumped.next->tier, dumped.next->position, dumped.next->offset, dumped.next->slot};
  columns.Set("next", copied<Napi::Uint32Array>(env, next));
  return columns;
}

}  // namespace

Napi::Value createIndex(const Napi::CallbackInfo& info) {
  IndexOptions options;
  options.maxBlocks = static_cast<uint64_t>(std::min(numberOf(info[0], "maxBlocks"), 1e15));
  options.maxSlots = uint32Of(info[1], "maxSlots");
  options.hitWindow = uint32Of(info[2], "hitWindow");
  const auto state = std::make_shared<IndexState>(options);
  state->results = viewOf<double>(info[3], napi_float64_array, "results");
  state->numbers = viewOf<uint64_t>(info[4], napi_biguint64_array, "numbers");
  if (state->results.length < kResults || state->numbers.length < kNumbers) {
    throw Napi::RangeError::New(info.Env(), "results or numbers are too short");
  }
  state->resultsRef = Napi::Reference<Napi::TypedArray>::New(info[3].As<Napi::TypedArray>(), 1);
  state->numbersRef = Napi::Reference<Napi::TypedArray>::New(info[4].As<Napi::TypedArray>(), 1);
  auto object = Napi::Object::New(info.Env());
  method(object, "addSlot", state, addSlot);
  method(object, "removeSlot", state, removeSlot);
  method(object, "clearSlot", state, clearSlot);
  method(object, "store", state, store);
  method(object, "remove", state, remove);
  method(object, "applyMessage", state, apply);
  method(object, "setOverlaps", state, setOverlaps);
  method(object, "match", state, match);
  method(object, "matchBatch", state, matchBatch);
  method(object, "reclaim", state, reclaim);
  method(object, "hits", state, hits);
  method(object, "stats", state, stats);
  method(object, "dump", state, dumpColumns);
  return object;
}

}  // namespace stator
