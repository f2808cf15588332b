#pragma once

#include <napi.h>

#include <memory>
#include <set>
#include <utility>

#include "channel.h"
#include "engine.h"
#include "handle.h"

namespace stator {

// What a handle owns: the engine, the way of its steps to JavaScript, and the hook that ends both with the environment.
class EngineSession {
 public:
  EngineSession(Napi::Env env, std::shared_ptr<Engine> engine, Channel<Step> channel)
      : env_(env), engine_(std::move(engine)), channel_(std::move(channel)) {
    napi_add_env_cleanup_hook(env_, onEnvironmentEnd, this);
    sessions().insert(this);
    engine_->start([this](Step&& step) { channel_.send(std::move(step)); });
  }

  ~EngineSession() {
    napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
    sessions().erase(this);
    end(false);
  }

  // Null once it has stopped.
  const std::shared_ptr<Engine>& engine() const { return engine_; }
  void expect(Napi::Env env) { channel_.expect(env); }

  // Those of this thread's environment.
  static std::set<EngineSession*>& sessions() {
    thread_local std::set<EngineSession*> all;
    return all;
  }

  // Stops the engine and frees its memory at once, not when the handle is collected.
  void end(bool environmentEnds) {
    if (!engine_) return;
    engine_->stop();
    engine_.reset();
    channel_.close(environmentEnds);
  }

 private:
  static void onEnvironmentEnd(void* self) { static_cast<EngineSession*>(self)->end(true); }

  napi_env env_;
  std::shared_ptr<Engine> engine_;
  Channel<Step> channel_;
};

inline std::shared_ptr<EngineSession> sessionFrom(const Napi::Value& value) { return shareFrom<EngineSession>(value, kEngineTag, "engine"); }

[[noreturn]] inline void stopped() { throw CodedError("not_ready", "", "The engine has stopped."); }

inline Engine& running(const EngineSession& session) {
  if (!session.engine()) stopped();
  return *session.engine();
}

// Runs `work` on the engine's thread and settles a promise with `convert` of its result.
template <typename Work, typename Convert>
Napi::Value onEngine(const Napi::CallbackInfo& info, Work work, Convert convert) {
  Napi::Env env = info.Env();
  const auto session = sessionFrom(info[0]);
  const Napi::Promise::Deferred deferred(env);
  const bool accepted = running(*session).enqueue([deferred, work, convert](Engine& engine) -> Completion {
    try {
      auto result = work(engine);
      return [deferred, convert, result = std::move(result)](Napi::Env to) mutable { deferred.Resolve(convert(to, result)); };
    } catch (const std::exception& error) {
      return [deferred, failure = describe(error)](Napi::Env to) { deferred.Reject(toNapi(to, failure).Value()); };
    }
  });
  if (!accepted) stopped();
  session->expect(env);
  return deferred.Promise();
}

}  // namespace stator
