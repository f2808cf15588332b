#include "step.h"

#include <cstring>

namespace stator {
namespace {

Napi::Uint32Array column(Napi::Env env, const std::vector<uint32_t>& values) {
  auto array = Napi::Uint32Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(uint32_t));
  return array;
}

Napi::BigUint64Array hashes(Napi::Env env, const std::vector<uint64_t>& values) {
  auto array = Napi::BigUint64Array::New(env, values.size());
  if (!values.empty()) std::memcpy(array.Data(), values.data(), values.size() * sizeof(uint64_t));
  return array;
}

Napi::Object logprob(Napi::Env env, const TokenLogprob& from) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("tokenId", from.token);
  object.Set("logprob", from.logprob);
  object.Set("rank", from.rank);
  return object;
}

Napi::Object position(Napi::Env env, const PositionLogprobs& from) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array top = Napi::Array::New(env, from.top.size());
  for (uint32_t i = 0; i < from.top.size(); ++i) top.Set(i, logprob(env, from.top[i]));
  object.Set("chosen", logprob(env, from.chosen));
  object.Set("top", top);
  return object;
}

template <typename T, typename Convert>
Napi::Array list(Napi::Env env, const std::vector<T>& values, Convert convert) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) array.Set(i, convert(env, values[i]));
  return array;
}

Napi::Object prefilled(Napi::Env env, const Prefilled& from) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("handle", from.handle);
  object.Set("cachedTokens", from.cachedTokens);
  object.Set("queueUs", from.queueUs);
  object.Set("prefillUs", from.prefillUs);
  object.Set("promptLogprobs", from.promptLogprobs ? Napi::Value(list(env, *from.promptLogprobs, position)) : env.Null());
  return object;
}

Napi::Object finished(Napi::Env env, const Finished& from) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("handle", from.handle);
  object.Set("reason", static_cast<uint32_t>(from.reason));
  object.Set("stopTokenId", from.stopToken ? Napi::Value(Napi::Number::New(env, *from.stopToken)) : env.Null());
  object.Set("error", from.error ? Napi::Value(toNapi(env, *from.error).Value()) : env.Null());
  object.Set("promptTokens", from.promptTokens);
  object.Set("outputTokens", from.outputTokens);
  object.Set("cachedTokens", from.cachedTokens);
  return object;
}

Napi::Object tokenLogprobs(Napi::Env env, const std::pair<uint32_t, PositionLogprobs>& from) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("entry", from.first);
  object.Set("position", position(env, from.second));
  return object;
}

Napi::Object change(Napi::Env env, const KvChange& from) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("stored", from.kind == KvChange::Kind::kStored);
  object.Set("parent", from.parent ? Napi::Value(Napi::BigInt::New(env, *from.parent)) : env.Null());
  object.Set("startBlock", from.startBlock);
  object.Set("sequenceHashes", hashes(env, from.sequence));
  object.Set("localHashes", hashes(env, from.local));
  return object;
}

Napi::Object pass(Napi::Env env, const Pass& from) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("startUnixUs", Napi::BigInt::New(env, from.startUnixUs));
  object.Set("durationUs", from.durationUs);
  object.Set("prefillSequences", from.prefillSequences);
  object.Set("prefillTokens", from.prefillTokens);
  object.Set("decodeSequences", from.decodeSequences);
  object.Set("decodeContextTokens", static_cast<double>(from.decodeContextTokens));
  return object;
}

Napi::Object load(Napi::Env env, const Load& from) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("runningSequences", from.runningSequences);
  object.Set("queuedSequences", from.queuedSequences);
  object.Set("queuedTokens", static_cast<double>(from.queuedTokens));
  object.Set("pendingPrefillTokens", static_cast<double>(from.pendingPrefillTokens));
  object.Set("activeBlocks", from.activeBlocks);
  object.Set("cachedBlocks", from.cachedBlocks);
  return object;
}

}  // namespace

Napi::Array toNapi(Napi::Env env, const std::vector<KvChange>& changes) { return list(env, changes, change); }

Napi::Object toNapi(Napi::Env env, const Step& step) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("handles", column(env, step.handles));
  object.Set("tokenIds", column(env, step.tokens));
  object.Set("prefilled", list(env, step.prefilled, prefilled));
  object.Set("finished", list(env, step.finished, finished));
  object.Set("logprobs", list(env, step.logprobs, tokenLogprobs));
  object.Set("kv", toNapi(env, step.kv));
  object.Set("pass", step.pass ? Napi::Value(pass(env, *step.pass)) : env.Null());
  object.Set("copiedBlocks", step.copiedBlocks);
  object.Set("fatal", step.fatal ? Napi::Value(Napi::String::New(env, *step.fatal)) : env.Null());
  object.Set("load", load(env, step.load));
  return object;
}

}  // namespace stator
