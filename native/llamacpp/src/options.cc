#include "options.h"

#include "errors.h"

namespace stator {
namespace {

[[noreturn]] void wrongType(Napi::Env env, const char* key, const char* type) {
  throw Napi::TypeError::New(env, std::string(key) + " must be " + type);
}

double number(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsNumber()) wrongType(from.Env(), key, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

bool boolean(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsBoolean()) wrongType(from.Env(), key, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string text(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  if (!value.IsString()) wrongType(from.Env(), key, "a string");
  return value.As<Napi::String>().Utf8Value();
}

uint32_t unsignedNumber(const Napi::Object& from, const char* key) { return static_cast<uint32_t>(number(from, key)); }

std::optional<uint32_t> optionalNumber(const Napi::Object& from, const char* key) {
  if (from.Get(key).IsNull()) return std::nullopt;
  return unsignedNumber(from, key);
}

uint64_t seed(const Napi::Object& from) {
  const Napi::Value value = from.Get("seed");
  if (!value.IsBigInt()) wrongType(from.Env(), "seed", "a bigint");
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

ggml_type kvType(const std::string& name) {
  if (name == "f32") return GGML_TYPE_F32;
  if (name == "f16") return GGML_TYPE_F16;
  if (name == "bf16") return GGML_TYPE_BF16;
  if (name == "q8_0") return GGML_TYPE_Q8_0;
  if (name == "q4_0") return GGML_TYPE_Q4_0;
  throw invalid("kvType", "Unknown KV type " + name + ".");
}

SamplingParams sampling(const Napi::Object& from) {
  SamplingParams params;
  params.temperature = static_cast<float>(number(from, "temperature"));
  params.topP = static_cast<float>(number(from, "topP"));
  params.topK = static_cast<int32_t>(number(from, "topK"));
  params.minP = static_cast<float>(number(from, "minP"));
  params.frequencyPenalty = static_cast<float>(number(from, "frequencyPenalty"));
  params.presencePenalty = static_cast<float>(number(from, "presencePenalty"));
  params.repetitionPenalty = static_cast<float>(number(from, "repetitionPenalty"));
  params.seed = seed(from);
  params.grammar = text(from, "grammar");
  params.topLogprobs = optionalNumber(from, "topLogprobs");
  const std::vector<llama_token> biased = tokensFrom(from.Get("logitBiasTokens"));
  const auto values = from.Get("logitBiasValues").As<Napi::Float32Array>();
  for (size_t i = 0; i < biased.size() && i < values.ElementLength(); ++i) params.logitBias.emplace_back(biased[i], values[i]);
  return params;
}

}  // namespace

std::vector<llama_token> tokensFrom(const Napi::Value& from) {
  if (!from.IsTypedArray() || from.As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    throw Napi::TypeError::New(from.Env(), "token ids must be a Uint32Array");
  }
  const auto array = from.As<Napi::Uint32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

EngineOptions engineOptions(const Napi::Object& from) {
  EngineOptions options;
  options.contextLength = unsignedNumber(from, "contextLength");
  options.kvCells = unsignedNumber(from, "kvCells");
  options.batchTokens = unsignedNumber(from, "batchTokens");
  options.maxSequences = unsignedNumber(from, "maxSequences");
  options.blockSize = unsignedNumber(from, "blockSize");
  options.threads = static_cast<int32_t>(number(from, "threads"));
  options.flashAttention = boolean(from, "flashAttention") ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  options.keyType = kvType(text(from, "keyType"));
  options.valueType = kvType(text(from, "valueType"));
  options.offloadKv = boolean(from, "offloadKv");
  const auto digest = from.Get("modelDigest").As<Napi::Uint8Array>();
  options.modelDigest.assign(digest.Data(), digest.Data() + digest.ElementLength());
  options.kvSliceUs = unsignedNumber(from, "kvSliceUs");
  return options;
}

Request requestFrom(const Napi::Object& from) {
  Request request;
  request.handle = unsignedNumber(from, "handle");
  request.tokens = tokensFrom(from.Get("tokenIds"));
  request.resumedOutputTokens = unsignedNumber(from, "resumedOutputTokens");
  request.maxTokens = unsignedNumber(from, "maxTokens");
  request.minTokens = unsignedNumber(from, "minTokens");
  request.ignoreEos = boolean(from, "ignoreEos");
  request.bypassPrefixCache = boolean(from, "bypassPrefixCache");
  request.priority = static_cast<int32_t>(number(from, "priority"));
  request.stopTokens = tokensFrom(from.Get("stopTokenIds"));
  request.promptLogprobs = optionalNumber(from, "promptLogprobs");
  request.adapter = text(from, "adapter");
  request.cacheSalt = text(from, "cacheSalt");
  request.sampling = sampling(from);
  return request;
}

}  // namespace stator
