#include <napi.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

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

// hashBlocks(tokenIds, blockSize, hashes, at, cacheSalt?, adapter?): writes local hashes, then sequence hashes, from `at` on.
// Without salts, which is the usual case, neither strings nor a seed's secret are made for the call.
Napi::Value hashBlocks(const Napi::CallbackInfo& info) {
  static const BlockHasher unsalted(kBlockHashSeed);
  const Napi::Uint32Array ids = tokenIds(info);
  const size_t size = blockSize(info);
  if (!info[2].IsTypedArray() || info[2].As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array) {
    throw Napi::TypeError::New(info.Env(), "hashes must be a BigUint64Array");
  }
  auto hashes = info[2].As<Napi::BigUint64Array>();
  const size_t length = ids.ElementLength();
  const size_t count = length / size;
  const size_t at = info[3].IsNumber() ? info[3].As<Napi::Number>().Uint32Value() : SIZE_MAX;
  if (at > hashes.ElementLength() || hashes.ElementLength() - at < count * 2) {
    throw Napi::RangeError::New(info.Env(), "hashes must have room for two hashes of each block");
  }
  uint64_t* const local = hashes.Data() + at;
  if (info.Length() < 6) {
    unsalted.blocks(ids.Data(), length, size, local, local + count);
  } else {
    const BlockHasher hasher(text(info, 5, "adapter"), text(info, 4, "cacheSalt"));
    hasher.blocks(ids.Data(), length, size, local, local + count);
  }
  return info.Env().Undefined();
}

uint64_t unsigned64(const Napi::Value& value, const char* name) {
  if (!value.IsBigInt()) throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a bigint");
  bool lossless = false;
  const uint64_t number = value.As<Napi::BigInt>().Uint64Value(&lossless);
  if (!lossless) throw Napi::RangeError::New(value.Env(), std::string(name) + " must fit 64 bits without sign");
  return number;
}

template <typename Column>
Column column(const Napi::CallbackInfo& info, size_t index, napi_typedarray_type type, const char* name) {
  if (!info[index].IsTypedArray() || info[index].As<Napi::TypedArray>().TypedArrayType() != type) {
    throw Napi::TypeError::New(info.Env(), std::string(name) + " must be a typed array of its kind");
  }
  return info[index].As<Column>();
}

std::vector<BlockMedia> mediaOf(const Napi::CallbackInfo& info, size_t index) {
  const auto blocks = column<Napi::Uint32Array>(info, index, napi_uint32_array, "media.blocks");
  const auto hashes = column<Napi::BigUint64Array>(info, index + 1, napi_biguint64_array, "media.hashes");
  const size_t count = blocks.ElementLength();
  if (count != hashes.ElementLength()) {
    throw Napi::RangeError::New(info.Env(), "media.blocks and media.hashes must be of one length");
  }
  std::vector<BlockMedia> media(count);
  for (size_t i = 0; i < count; ++i) media[i] = {blocks.Data()[i], hashes.Data()[i]};
  std::sort(media.begin(), media.end());
  return media;
}

std::vector<MediaRun> runsOf(const Napi::CallbackInfo& info, size_t index, size_t tokens) {
  const auto spans = column<Napi::Uint32Array>(info, index, napi_uint32_array, "runs.spans");
  const auto hashes = column<Napi::BigUint64Array>(info, index + 1, napi_biguint64_array, "runs.hashes");
  const size_t count = hashes.ElementLength();
  if (spans.ElementLength() != count * 2) {
    throw Napi::RangeError::New(info.Env(), "runs.spans must have two numbers for each of runs.hashes");
  }
  std::vector<MediaRun> runs(count);
  for (size_t i = 0; i < count; ++i) runs[i] = {spans.Data()[i * 2], spans.Data()[i * 2 + 1], hashes.Data()[i]};
  std::sort(runs.begin(), runs.end(), [](const MediaRun& a, const MediaRun& b) { return a.offset < b.offset; });
  uint64_t end = 0;
  for (const MediaRun& run : runs) {
    if (run.length == 0) throw Napi::RangeError::New(info.Env(), "a run of media must not be empty");
    if (run.end() > tokens) throw Napi::RangeError::New(info.Env(), "a run of media goes beyond the prompt");
    if (run.offset < end) throw Napi::RangeError::New(info.Env(), "runs of media overlap");
    end = run.end();
  }
  return runs;
}

// hashChain(tokenIds, blockSize, seed, eagle, parent | null, media blocks, media hashes, run spans, run hashes): local
// hashes, then sequence hashes, in one array.
Napi::Value hashChain(const Napi::CallbackInfo& info) {
  const Napi::Uint32Array ids = tokenIds(info);
  ChainShape shape;
  shape.blockSize = blockSize(info);
  const BlockHasher hasher(unsigned64(info[2], "seed"));
  shape.eagle = info[3].ToBoolean();
  const uint64_t parent = info[4].IsNull() ? 0 : unsigned64(info[4], "parent");
  if (!info[4].IsNull()) shape.parent = &parent;
  shape.media = mediaOf(info, 5);
  shape.runs = runsOf(info, 7, ids.ElementLength());
  if (!shape.runs.empty() && (shape.eagle || !shape.media.empty())) {
    throw Napi::RangeError::New(info.Env(), "runs of media go with neither media of blocks nor Eagle windows");
  }
  const size_t count = shape.blocks(ids.ElementLength());
  auto hashes = Napi::BigUint64Array::New(info.Env(), count * 2);
  hasher.chain(ids.Data(), ids.ElementLength(), shape, hashes.Data(), hashes.Data() + count);
  return hashes;
}

// xxh3(bytes, seed): the hash of anything else, for example media.
Napi::Value xxh3(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(info.Env(), "bytes must be a Uint8Array");
  }
  const uint64_t seed = unsigned64(info[1], "seed");
  const auto bytes = info[0].As<Napi::Uint8Array>();
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(XXH3_64bits_withSeed(bytes.Data(), bytes.ElementLength(), seed)));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("hashBlocks", Napi::Function::New(env, hashBlocks, "hashBlocks"));
  exports.Set("hashChain", Napi::Function::New(env, hashChain, "hashChain"));
  exports.Set("xxh3", Napi::Function::New(env, xxh3, "xxh3"));
  return exports;
}

NODE_API_MODULE(tokens, init)

}  // namespace
}  // namespace stator
