#include "running.h"

namespace stator::hostmem {
namespace {

struct Settled;
void deliver(Napi::Env env, Napi::Function callback, std::nullptr_t*, Settled* settled);
using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, Settled, deliver>;

struct Settled {
  Settled(Napi::Env env, Napi::Object keep) : deferred(env), keep(Napi::Persistent(keep)) {}
  Napi::Promise::Deferred deferred;
  Napi::ObjectReference keep;
  Function function;
  Answer answer;
};

void deliver(Napi::Env env, Napi::Function, std::nullptr_t*, Settled* settled) {
  // An environment that is gone takes its references along.
  if (env == nullptr) return;
  const std::unique_ptr<Settled> owner(settled);
  Napi::HandleScope scope(env);
  owner->deferred.Resolve(owner->answer(env));
}

void stop(void* job) {
  static_cast<Job*>(job)->cancel();
  static_cast<Job*>(job)->wait();
}

}  // namespace

struct Settler::State : Settled {
  using Settled::Settled;
};

Settler::Settler(Napi::Env env, Napi::Object keep) : state_(new State(env, keep)) {
  state_->function = Function::New(env, Napi::Function(), "stator.hostmem", 0, 1);
}

Napi::Promise Settler::promise() const { return state_->deferred.Promise(); }

void Settler::settle(Answer answer) const {
  const Function function = state_->function;
  state_->answer = std::move(answer);
  // Whatever becomes of it, `deliver` owns it now.
  function.NonBlockingCall(static_cast<Settled*>(state_));
  function.Release();
}

Napi::Object start(Napi::Env env, std::shared_ptr<Job> job, size_t units, size_t threads, Napi::Object keep, Answer answer) {
  const Settler settler(env, keep);
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("done", settler.promise());
  handle.Set("cancel", Napi::Function::New(env, [job](const Napi::CallbackInfo&) { job->cancel(); }));
  const auto progress = [job](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(job->progress()));
  };
  handle.Set("progress", Napi::Function::New(env, progress));
  napi_add_env_cleanup_hook(env, stop, job.get());
  const auto settled = [job, answer = std::move(answer)](Napi::Env settledEnv) {
    napi_remove_env_cleanup_hook(settledEnv, stop, job.get());
    return answer(settledEnv);
  };
  job->finished = [settler, settled] { settler.settle(settled); };
  submit(std::move(job), units, threads);
  return handle;
}

Napi::Object atOnce(Napi::Env env, Job& job, size_t units, const Answer& answer) {
  for (size_t unit = 0; unit < units; ++unit) job.run(unit);
  job.end();
  const auto deferred = Napi::Promise::Deferred::New(env);
  deferred.Resolve(answer(env));
  const double progress = static_cast<double>(job.progress());
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("done", deferred.Promise());
  handle.Set("cancel", Napi::Function::New(env, [](const Napi::CallbackInfo&) {}));
  handle.Set("progress", Napi::Function::New(env, [progress](const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), progress);
  }));
  return handle;
}

}  // namespace stator::hostmem
