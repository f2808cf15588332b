#include <napi.h>

#include "control.h"
#include "memory_api.h"

namespace stator::hostmem {
namespace {

Napi::Value address(const Napi::CallbackInfo& info) {
  if (!info[0].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "buffer must be a typed array.");
  const auto array = info[0].As<Napi::TypedArray>();
  const auto start = reinterpret_cast<uintptr_t>(array.ArrayBuffer().Data()) + array.ByteOffset();
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(start));
}

int descriptor(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "fd must be a number.");
  return info[0].As<Napi::Number>().Int32Value();
}

Napi::Value own(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), lockOwner(descriptor(info))); }

Napi::Value alive(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), ownerLives(descriptor(info))); }

Napi::Value unwritten(const Napi::CallbackInfo& info) {
  const int fd = descriptor(info);
  return Napi::Boolean::New(info.Env(), noWriter(fd, info[1].As<Napi::Number>().Uint32Value()));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("allocate", Napi::Function::New(env, allocate, "allocate"));
  exports.Set("address", Napi::Function::New(env, address, "address"));
  exports.Set("own", Napi::Function::New(env, own, "own"));
  exports.Set("alive", Napi::Function::New(env, alive, "alive"));
  exports.Set("unwritten", Napi::Function::New(env, unwritten, "unwritten"));
  exports.Set("openLender", Napi::Function::New(env, openLender, "openLender"));
  exports.Set("closeLender", Napi::Function::New(env, closeLender, "closeLender"));
  exports.Set("copy", Napi::Function::New(env, copyLent, "copy"));
  exports.Set("openShared", Napi::Function::New(env, openSharedFile, "openShared"));
  exports.Set("release", Napi::Function::New(env, release, "release"));
  exports.Set("hold", Napi::Function::New(env, hold, "hold"));
  exports.Set("populate", Napi::Function::New(env, populate, "populate"));
  exports.Set("bulk", Napi::Function::New(env, bulk, "bulk"));
  return exports;
}

NODE_API_MODULE(hostmem, init)

}  // namespace
}  // namespace stator::hostmem
