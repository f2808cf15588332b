#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace stator {

// Carries items of a native thread to one function on the event loop. Items that arrive while the loop is busy are
// handed over together, so a slow loop costs one wake-up, not one for each item.
template <typename Item>
class Channel {
 public:
  // Called on the event loop; returns how many expected answers the items contained.
  using Receive = size_t (*)(Napi::Env env, Napi::Function callback, std::vector<Item>& items);

  Channel(Napi::Env env, Napi::Function callback, const char* name, Receive receive)
      : state_(std::make_shared<State>()) {
    state_->receive = receive;
    state_->function = Function::New(env, callback, name, 0, 1);
    state_->function.Unref(env);
  }

  // From any thread.
  void send(Item&& item) {
    {
      std::lock_guard lock(state_->mutex);
      const bool wake = state_->items.empty();
      state_->items.push_back(std::move(item));
      if (!wake) return;
    }
    auto* share = new std::shared_ptr<State>(state_);
    if (state_->function.NonBlockingCall(share) != napi_ok) delete share;
  }

  // Keeps the process alive until one more answer has come. On the event loop only.
  void expect(Napi::Env env) {
    if (state_->expected++ == 0) state_->function.Ref(env);
  }

  // After the last send. What was sent is still delivered, unless the environment is going away.
  void close(bool environmentEnds) {
    if (environmentEnds) state_->function.Abort();
    else state_->function.Release();
  }

 private:
  struct State;
  static void deliver(Napi::Env env, Napi::Function callback, std::nullptr_t*, std::shared_ptr<State>* share);
  using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, std::shared_ptr<State>, deliver>;

  struct State {
    std::mutex mutex;
    std::vector<Item> items;
    Receive receive = nullptr;
    Function function;
    size_t expected = 0;  // the event loop's own
  };

  std::shared_ptr<State> state_;
};

template <typename Item>
void Channel<Item>::deliver(Napi::Env env, Napi::Function callback, std::nullptr_t*, std::shared_ptr<State>* share) {
  const std::unique_ptr<std::shared_ptr<State>> owner(share);
  State& state = **owner;
  std::vector<Item> items;
  {
    std::lock_guard lock(state.mutex);
    items.swap(state.items);
  }
  if (env == nullptr || callback == nullptr) return;
  try {
    const size_t answers = state.receive(env, callback, items);
    if (answers > 0 && (state.expected -= answers) == 0) state.function.Unref(env);
  } catch (const Napi::Error& error) {
    // A throwing listener is an uncaught exception of the program, as it is for any other callback.
    try {
      napi_fatal_exception(env, error.Value());
    } catch (const Napi::Error&) {
      // The environment is being terminated and runs no JavaScript any more.
    }
  }
}

}  // namespace stator
