#include "kv_api.h"

#include <cmath>

#include "engine_session.h"
#include "options.h"

namespace stator {
namespace {

double lengthFrom(const Napi::Object& from, const char* key) {
  const Napi::Value value = from.Get(key);
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number != std::floor(number)) throw Napi::TypeError::New(from.Env(), std::string(key) + " must be a whole number");
  return number;
}

// Memory of one block, within the bounds of its array. Exports need room for a block; what is imported is checked later.
KvMemory memoryFrom(const Napi::Object& span, size_t place, size_t needed) {
  const Napi::Value value = span.Get("memory");
  if (!value.IsTypedArray()) throw Napi::TypeError::New(span.Env(), "memory must be a Uint8Array");
  const auto array = value.As<Napi::TypedArray>();
  void* data = nullptr;
  size_t length = 0;
  napi_typedarray_type type = napi_uint8_array;
  if (napi_get_typedarray_info(span.Env(), array, &type, &length, &data, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
    throw Napi::TypeError::New(span.Env(), "memory must be a Uint8Array");
  }
  const double offset = lengthFrom(span, "offset");
  const double bytes = lengthFrom(span, "bytes");
  const std::string field = "spans[" + std::to_string(place) + "]";
  if (offset + bytes > static_cast<double>(length)) throw invalid(field, "The span ends behind its memory.");
  if (bytes < static_cast<double>(needed)) throw invalid(field, "A block needs " + std::to_string(needed) + " bytes.");
  return {static_cast<uint8_t*>(data) + static_cast<size_t>(offset), static_cast<size_t>(bytes)};
}

std::unique_ptr<KvTransfer> transferFrom(const Napi::Object& from, const Engine& engine) {
  const KvBlockFormat* format = engine.blockFormat();
  if (format == nullptr) throw CodedError("unsupported", "", "The KV of this model cannot be cut into blocks.");
  auto transfer = std::make_unique<KvTransfer>();
  transfer->id = from.Get("id").As<Napi::Number>();
  transfer->imports = from.Get("imports").As<Napi::Boolean>();
  transfer->tokens = tokensFrom(from.Get("tokenIds"));
  transfer->adapter = from.Get("adapter").As<Napi::String>().Utf8Value();
  const std::string salt = from.Get("cacheSalt").As<Napi::String>().Utf8Value();
  transfer->scope = cacheScope(transfer->adapter, salt);
  transfer->hasher = BlockHasher(transfer->adapter, salt);
  transfer->from = static_cast<uint32_t>(lengthFrom(from, "from"));
  if (!from.Get("spans").IsArray()) throw Napi::TypeError::New(from.Env(), "spans must be an array");
  const auto spans = from.Get("spans").As<Napi::Array>();
  for (uint32_t i = 0; i < spans.Length(); ++i) {
    if (!spans.Get(i).IsObject()) throw Napi::TypeError::New(from.Env(), "spans must be objects");
    transfer->spans.push_back(memoryFrom(spans.Get(i).As<Napi::Object>(), i, transfer->imports ? 0 : format->bytes()));
  }
  const size_t blocks = size_t{transfer->from} + transfer->spans.size();
  const size_t size = engine.options().blockSize;
  if (blocks * size > transfer->tokens.size()) throw invalid("tokenIds", "There are fewer tokens than blocks.");
  if (blocks * size > engine.options().kvCells) throw invalid("tokenIds", "There are more tokens than the cache has cells.");
  transfer->tokens.resize(blocks * size);
  return transfer;
}

}  // namespace

Napi::Value engineKvFormat(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto session = sessionFrom(info[0]);
    const KvBlockFormat* format = running(*session).blockFormat();
    if (format == nullptr) return env.Null();
    Napi::Object result = Napi::Object::New(env);
    result.Set("blockBytes", static_cast<double>(format->bytes()));
    result.Set("headerBytes", static_cast<double>(sizeof(KvBlockHeader)));
    result.Set("flashAttention", format->flashAttention());
    result.Set("release", llama_version());
    return result;
  });
}

Napi::Value engineKvCopy(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto session = sessionFrom(info[0]);
    Engine& engine = running(*session);
    auto transfer = transferFrom(info[1].As<Napi::Object>(), engine);
    const Napi::Promise::Deferred deferred(env);
    transfer->settle = [deferred](std::optional<ErrorInfo> error, uint32_t blocks) -> Completion {
      return [deferred, error = std::move(error), blocks](Napi::Env to) {
        if (error) deferred.Reject(toNapi(to, *error).Value());
        else deferred.Resolve(Napi::Number::New(to, blocks));
      };
    };
    if (!engine.transfer(std::move(transfer))) stopped();
    session->expect(env);
    return deferred.Promise();
  });
}

Napi::Value engineKvCancel(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto session = sessionFrom(info[0]);
    if (session->engine()) session->engine()->cancelTransfer(info[1].As<Napi::Number>());
    return env.Undefined();
  });
}

Napi::Value engineKvAccept(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint32_t id = info[1].As<Napi::Number>();
    const uint32_t sound = info[2].As<Napi::Number>();
    return onEngine(
        info, [id, sound](Engine& engine) { return engine.transfers().accept(id, sound); },
        [](Napi::Env env, uint32_t& blocks) { return Napi::Number::New(env, blocks); });
  });
}

Napi::Value engineKvRelease(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const uint32_t id = info[1].As<Napi::Number>();
    return onEngine(
        info,
        [id](Engine& engine) {
          engine.transfers().release(id);
          return true;
        },
        [](Napi::Env env, bool&) { return env.Undefined(); });
  });
}

}  // namespace stator
