#pragma once

#include <napi.h>

#include <functional>
#include <memory>

#include "pool.h"

namespace stator::hostmem {

// Makes the value that a promise resolves with, on the event loop.
using Answer = std::function<Napi::Value(Napi::Env)>;

// Settles a promise from any thread. The process stays alive until it has.
class Settler {
 public:
  Settler(Napi::Env env, Napi::Object keep);
  Napi::Promise promise() const;
  // Exactly once.
  void settle(Answer answer) const;

 private:
  struct State;
  State* const state_;
};

// Starts a job and gives JavaScript { done, cancel, progress }. `keep` stays referenced until it is done. An environment that
// ends meanwhile cancels the job and waits until nothing touches memory.
Napi::Object start(Napi::Env env, std::shared_ptr<Job> job, size_t units, size_t threads, Napi::Object keep, Answer answer);

// The same for a job that is done when it returns.
Napi::Object atOnce(Napi::Env env, Job& job, size_t units, const Answer& answer);

}  // namespace stator::hostmem
