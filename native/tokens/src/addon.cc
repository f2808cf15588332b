#include <napi.h>

#include <cstdint>
#include <string>

#include "block_hash.h"

namespace stator {
namespace {

Napi::Uint32Array tokenIds(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array) {
    throw Napi::TypeError::New(info.Env(), "tokenIds must be a Uint32Array");
  }
  return info[0].As<Napi::Uint32Array>();
}

size_t blockSize(const Napi::CallbackInfo& info) {
  const double size = info[1].IsNumber() ? info[1].As<Napi::Number>().DoubleValue() : 0;
  if (!(size >= 1 && size <= UINT32_MAX)) throw Napi::RangeError::New(info.Env(), "blockSize must be at least 1");
  return static_cast<size_t>(size);
}

std::string text(const Napi::CallbackInfo& info, size_t index, const char* name) {
  if (!info[index].IsString()) throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a string");
  return info[index].As<Napi::String>().Utf8Value();
}

// hashBlocks(tokenIds, blockSize, cacheSalt, adapter): local hashes, then sequence hashes, in one array.
Napi::Value hashBlocks(const Napi::CallbackInfo& info) {
  const Napi::Uint32Array ids = tokenIds(info);
  const size_t size = blockSize(info);
  const BlockHasher hasher(text(info, 3, "adapter"), text(info, 2, "cacheSalt"));
  const size_t count = ids.ElementLength() / size;
  auto hashes = Napi::BigUint64Array::New(info.Env(), count * 2);
  hasher.blocks(ids.Data(), ids.ElementLength(), size, hashes.Data(), hashes.Data() + count);
  return hashes;
}

// xxh3(bytes, seed): the hash of anything else, for example media.
Napi::Value xxh3(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(info.Env(), "bytes must be a Uint8Array");
  }
  if (!info[1].IsBigInt()) throw Napi::TypeError::New(info.Env(), "seed must be a bigint");
  bool lossless = false;
  const uint64_t seed = info[1].As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) throw Napi::RangeError::New(info.Env(), "seed must fit 64 bits without sign");
  const auto bytes = info[0].As<Napi::Uint8Array>();
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(XXH3_64bits_withSeed(bytes.Data(), bytes.ElementLength(), seed)));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("hashBlocks", Napi::Function::New(env, hashBlocks, "hashBlocks"));
  exports.Set("xxh3", Napi::Function::New(env, xxh3, "xxh3"));
  return exports;
}

NODE_API_MODULE(tokens, init)

}  // namespace
}  // namespace stator
