#include "approximate_api.h"

#include <algorithm>
#include <memory>

#include "approximate.h"
#include "arguments.h"
#include "method.h"

namespace stator {
namespace {

struct ApproximateState {
  explicit ApproximateState(const ApproximateOptions& options) : index(options) {}

  Approximate index;
  Napi::Reference<Napi::TypedArray> resultsRef;
  View<double> results;
};

using State = ApproximateState&;
using Info = const Napi::CallbackInfo&;

constexpr double kMaxTimeMs = 1e15;

double timeOf(const Napi::Value& value) { return std::min(numberOf(value, "nowMs"), kMaxTimeMs); }

// record(slot, hashes, nowMs)
Napi::Value record(State state, Info info) {
  state.index.record(uint32Of(info[0], "slot"), hashesOf(info[1], "sequenceHashes"), timeOf(info[2]));
  return info.Env().Undefined();
}

// match(hashes, device, nowMs)
Napi::Value match(State state, Info info) {
  const Hashes prompt = hashesOf(info[0], "sequenceHashes");
  const View<uint32_t> device = uint32s(info[1], "device");
  const size_t deepest = state.index.match(prompt, device.data, device.length, timeOf(info[2]));
  return Napi::Number::New(info.Env(), static_cast<double>(deepest));
}

Napi::Value removeSlot(State state, Info info) {
  state.index.removeSlot(uint32Of(info[0], "slot"));
  return info.Env().Undefined();
}

// limitSlot(slot, blocks)
Napi::Value limitSlot(State state, Info info) {
  state.index.limitSlot(uint32Of(info[0], "slot"), uint32Of(info[1], "blocks"));
  return info.Env().Undefined();
}

Napi::Value expire(State state, Info info) {
  state.index.expire(timeOf(info[0]));
  return info.Env().Undefined();
}

Napi::Value stats(State state, Info info) {
  state.results.data[0] = static_cast<double>(state.index.entries());
  state.results.data[1] = static_cast<double>(state.index.bytes());
  return info.Env().Undefined();
}

}  // namespace

Napi::Value createApproximate(const Napi::CallbackInfo& info) {
  ApproximateOptions options;
  options.ttlMs = static_cast<uint64_t>(std::min(numberOf(info[0], "ttlMs"), kMaxTimeMs));
  options.blocksPerSlot = uint32Of(info[1], "blocksPerSlot");
  options.maxBlocks = static_cast<uint64_t>(std::min(numberOf(info[2], "maxBlocks"), 1e9));
  if ((options.ttlMs == 0) == (options.blocksPerSlot == 0)) {
    throw Napi::RangeError::New(info.Env(), "exactly one of ttlMs and blocksPerSlot must be at least 1");
  }
  const auto state = std::make_shared<ApproximateState>(options);
  state->results = viewOf<double>(info[3], napi_float64_array, "results");
  if (state->results.length < 2) throw Napi::RangeError::New(info.Env(), "results is too short");
  state->resultsRef = Napi::Reference<Napi::TypedArray>::New(info[3].As<Napi::TypedArray>(), 1);
  auto object = Napi::Object::New(info.Env());
  method(object, "record", state, record);
  method(object, "match", state, match);
  method(object, "removeSlot", state, removeSlot);
  method(object, "limitSlot", state, limitSlot);
  method(object, "expire", state, expire);
  method(object, "stats", state, stats);
  return object;
}

}  // namespace stator
