#include <fcntl.h>
#include <napi.h>
#include <unistd.h>

#include <memory>

#include "control.h"
#include "copy.h"
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

class Worker : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, Copy copy) : Napi::AsyncWorker(env), copy_(std::move(copy)), deferred_(env) {}
  ~Worker() override { close(copy_.fd); }
  void Execute() override { problem_ = run(copy_, *canceled_); }
  void OnOK() override { deferred_.Resolve(Napi::String::New(Env(), problem_)); }
  Napi::Value promise() const { return deferred_.Promise(); }
  std::shared_ptr<std::atomic<bool>> canceled() const { return canceled_; }

 private:
  Copy copy_;
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<std::atomic<bool>> canceled_ = std::make_shared<std::atomic<bool>>(false);
  std::string problem_;
};

// (path, write, timeoutMs, words) → { done, cancel }. The buffers must be referenced until `done` is settled.
Napi::Value copy(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (info.Length() < 4 || !info[0].IsString() || !info[2].IsNumber() || !info[3].IsTypedArray() ||
      info[3].As<Napi::TypedArray>().TypedArrayType() != napi_biguint64_array)
    throw Napi::TypeError::New(env, "copy takes a path, a direction, milliseconds and a BigUint64Array.");
  const auto words = info[3].As<Napi::BigUint64Array>();
  if (words.ElementLength() % 5 != 0) throw Napi::RangeError::New(env, "Each piece has five words.");
  Copy job{-1, info[1].ToBoolean().Value(),
           std::chrono::steady_clock::now() + std::chrono::milliseconds(info[2].As<Napi::Number>().Int64Value()), {}};
  for (size_t i = 0; i < words.ElementLength(); i += 5) job.pieces.push_back({words[i], words[i + 1], words[i + 2], words[i + 3], words[i + 4]});
  job.fd = open(info[0].As<Napi::String>().Utf8Value().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  auto* worker = new Worker(env, std::move(job));
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("done", worker->promise());
  const auto flag = worker->canceled();
  handle.Set("cancel", Napi::Function::New(env, [flag](const Napi::CallbackInfo&) { flag->store(true); }));
  worker->Queue();
  return handle;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("allocate", Napi::Function::New(env, allocate, "allocate"));
  exports.Set("address", Napi::Function::New(env, address, "address"));
  exports.Set("own", Napi::Function::New(env, own, "own"));
  exports.Set("alive", Napi::Function::New(env, alive, "alive"));
  exports.Set("unwritten", Napi::Function::New(env, unwritten, "unwritten"));
  exports.Set("copy", Napi::Function::New(env, copy, "copy"));
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
