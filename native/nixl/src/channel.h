#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stator::nixl {

using Completion = std::function<void(Napi::Env)>;

// Carries completions of the agent's thread to the event loop. What arrives while the loop is busy is run together.
class Channel {
 public:
  explicit Channel(Napi::Env env) : state_(std::make_shared<State>()) {
    state_->function = Function::New(env, Napi::Function(), "stator.nixl.agent", 0, 1);
    state_->function.Unref(env);
  }

  // From any thread.
  void send(Completion&& completion) const {
    {
      std::lock_guard lock(state_->mutex);
      const bool wake = state_->items.empty();
      state_->items.push_back(std::move(completion));
      if (!wake) return;
    }
    auto* share = new std::shared_ptr<State>(state_);
    if (state_->function.NonBlockingCall(share) != napi_ok) delete share;
  }

  // Keeps the process alive until `answered` was called as often. Both on the event loop only.
  void expect(Napi::Env env) const {
    if (state_->expected++ == 0) state_->function.Ref(env);
  }
  void answered(Napi::Env env) const {
    if (--state_->expected == 0) state_->function.Unref(env);
  }

  // After the last send. What was sent is still delivered, unless the environment is going away.
  void close(bool environmentEnds) const {
    if (environmentEnds) state_->function.Abort();
    else state_->function.Release();
  }

 private:
  struct State;
  static void deliver(Napi::Env env, Napi::Function callback, std::nullptr_t*, std::shared_ptr<State>* share);
  using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, std::shared_ptr<State>, deliver>;

  struct State {
    std::mutex mutex;
    std::vector<Completion> items;
    Function function;
    size_t expected = 0;  // the event loop's own
  };

  std::shared_ptr<State> state_;
};

inline void Channel::deliver(Napi::Env env, Napi::Function, std::nullptr_t*, std::shared_ptr<State>* share) {
  const std::unique_ptr<std::shared_ptr<State>> owner(share);
  std::vector<Completion> items;
  {
    std::lock_guard lock((*owner)->mutex);
    items.swap((*owner)->items);
  }
  if (env == nullptr) return;
  Napi::HandleScope scope(env);
  for (const Completion& complete : items) {
    try {
      complete(env);
    } catch (const Napi::Error& error) {
      // A throwing listener is an uncaught exception of the program, as it is for any other callback.
      napi_fatal_exception(env, error.Value());
    }
  }
}

}  // namespace stator::nixl
