#pragma once

#include <napi.h>

#include <functional>
#include <optional>
#include <utility>

#include "errors.h"

namespace stator {

// Runs `work` on a pool thread and settles a promise with `convert` of its result.
template <typename Result>
class PromiseWorker : public Napi::AsyncWorker {
 public:
  using Work = std::function<Result()>;
  using Convert = std::function<Napi::Value(Napi::Env, Result&)>;

  static Napi::Promise start(Napi::Env env, Work work, Convert convert) {
    auto* worker = new PromiseWorker(env, std::move(work), std::move(convert));
    Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }

  void Execute() override {
    const AbortGuard guard;
    try {
      result_.emplace(work_());
    } catch (const std::exception& error) {
      failure_ = describe(error);
    } catch (...) {
      failure_ = ErrorInfo{"internal", "", "an unknown C++ exception"};
    }
    // Drops what the closure holds (handles, buffers) off the event loop.
    work_ = nullptr;
  }

  void OnOK() override {
    Napi::HandleScope scope(Env());
    if (failure_) {
      deferred_.Reject(toNapi(Env(), *failure_).Value());
      return;
    }
    deferred_.Resolve(convert_(Env(), *result_));
  }

 private:
  PromiseWorker(Napi::Env env, Work work, Convert convert)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), convert_(std::move(convert)) {}

  Napi::Promise::Deferred deferred_;
  Work work_;
  Convert convert_;
  std::optional<Result> result_;
  std::optional<ErrorInfo> failure_;
};

}  // namespace stator
