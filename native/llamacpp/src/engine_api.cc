#include "engine_api.h"

#include <set>
#include <utility>

#include "channel.h"
#include "engine.h"
#include "handle.h"
#include "options.h"
#include "promise_worker.h"

namespace stator {
namespace {

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

size_t receive(Napi::Env env, Napi::Function callback, std::vector<Step>& steps) {
  Napi::HandleScope scope(env);
  Napi::Array array = Napi::Array::New(env, steps.size());
  for (uint32_t i = 0; i < steps.size(); ++i) array.Set(i, toNapi(env, steps[i]));
  size_t answers = 0;
  for (const Step& step : steps) answers += step.finished.size() + step.completions.size();
  callback.Call({array});
  for (const Step& step : steps) {
    for (const Completion& complete : step.completions) complete(env);
  }
  return answers;
}

std::shared_ptr<EngineSession> sessionFrom(const Napi::Value& value) { return shareFrom<EngineSession>(value, kEngineTag, "engine"); }

[[noreturn]] void stopped() { throw CodedError("not_ready", "", "The engine has stopped."); }

Engine& running(const EngineSession& session) {
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

}  // namespace

Napi::Value engineCreate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto model = modelFrom(info[0]);
    const EngineOptions options = engineOptions(info[1].As<Napi::Object>());
    auto channel = std::make_shared<Channel<Step>>(env, info[2].As<Napi::Function>(), "stator.llamacpp.engine", receive);
    return PromiseWorker<std::shared_ptr<Engine>>::start(
        env, [model = std::move(model), options] { return std::make_shared<Engine>(model, options); },
        [channel](Napi::Env to, std::shared_ptr<Engine>& engine) -> Napi::Value {
          return share(to, std::make_shared<EngineSession>(to, std::move(engine), std::move(*channel)), kEngineTag);
        });
  });
}

Napi::Value engineSubmit(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto session = sessionFrom(info[0]);
    if (!running(*session).submit(requestFrom(info[1].As<Napi::Object>()))) stopped();
    session->expect(env);
    return env.Undefined();
  });
}

Napi::Value engineCancel(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto session = sessionFrom(info[0]);
    if (session->engine()) session->engine()->cancel(info[1].As<Napi::Number>());
    return env.Undefined();
  });
}

Napi::Value engineClearCache(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return onEngine(
        info, [](Engine& engine) { return engine.cache().clear(""); },
        [](Napi::Env env, uint64_t& blocks) { return Napi::Number::New(env, static_cast<double>(blocks)); });
  });
}

Napi::Value engineSnapshot(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    return onEngine(
        info, [](Engine& engine) { return engine.cache().snapshot(); },
        [](Napi::Env env, std::vector<KvChange>& changes) { return toNapi(env, changes); });
  });
}

Napi::Value engineLoadAdapter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string name = info[1].As<Napi::String>();
    const std::string path = info[2].As<Napi::String>();
    const float scale = info[3].As<Napi::Number>();
    return onEngine(
        info, [name, path, scale](Engine& engine) { return engine.loadAdapter(name, path, scale); },
        [](Napi::Env env, bool& already) { return Napi::Boolean::New(env, already); });
  });
}

Napi::Value engineUnloadAdapter(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const std::string name = info[1].As<Napi::String>();
    return onEngine(
        info,
        [name](Engine& engine) {
          engine.unloadAdapter(name);
          return true;
        },
        [](Napi::Env env, bool&) { return env.Undefined(); });
  });
}

Napi::Value enginesStop(const Napi::CallbackInfo& info) {
  for (EngineSession* session : EngineSession::sessions()) {
    if (session->engine()) session->engine()->stop();
  }
  return info.Env().Undefined();
}

Napi::Value engineStop(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto session = sessionFrom(info[0]);
    // Joining waits for the running graph node: not on the event loop.
    return PromiseWorker<bool>::start(
        env,
        [engine = session->engine()] {
          if (engine) engine->stop();
          return true;
        },
        [session](Napi::Env to, bool&) -> Napi::Value {
          session->end(false);
          return to.Undefined();
        });
  });
}

}  // namespace stator
