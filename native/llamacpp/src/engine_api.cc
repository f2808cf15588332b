#include "engine_api.h"

#include <utility>

#include "engine_session.h"
#include "options.h"
#include "promise_worker.h"

namespace stator {
namespace {

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
