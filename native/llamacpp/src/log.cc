#include "log.h"

#include <llama.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"

namespace stator {
namespace {

struct Line {
  int level;
  std::string text;
};

void deliver(Napi::Env env, Napi::Function callback, std::nullptr_t*, Line* line) {
  if (env != nullptr && callback != nullptr) {
    callback.Call({Napi::Number::New(env, line->level), Napi::String::New(env, line->text)});
  }
  delete line;
}

using LogFunction = Napi::TypedThreadSafeFunction<std::nullptr_t, Line, deliver>;

// Lines that wait for the event loop; more are dropped rather than slowing the engine.
constexpr size_t kMaxQueuedLines = 1000;

struct Sink {
  napi_env env;
  LogFunction function;
};

// Never destroyed: llama.cpp may log while the process exits.
struct Sinks {
  std::mutex mutex;
  std::vector<Sink> sinks;
};

Sinks& sinks() {
  static auto* instance = new Sinks();
  return *instance;
}

void broadcast(int level, const std::string& text) {
  std::lock_guard lock(sinks().mutex);
  for (Sink& sink : sinks().sinks) {
    auto* line = new Line{level, text};
    if (sink.function.NonBlockingCall(line) != napi_ok) delete line;
  }
}

// llama.cpp logs parts of lines; whole ones are passed on.
void onLog(ggml_log_level level, const char* text, void*) {
  thread_local std::string pending;
  thread_local int pendingLevel = 0;
  if (level != GGML_LOG_LEVEL_CONT) pendingLevel = level;
  pending += text;
  for (size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
    if (end > 0) broadcast(pendingLevel, pending.substr(0, end));
    pending.erase(0, end + 1);
  }
  if (pending.size() > 4096) pending.clear();
}

void removeSink(napi_env env) {
  std::lock_guard lock(sinks().mutex);
  auto& all = sinks().sinks;
  const auto found = std::find_if(all.begin(), all.end(), [env](const Sink& sink) { return sink.env == env; });
  if (found == all.end()) return;
  found->function.Abort();
  all.erase(found);
}

}  // namespace

void installLog() {
  static std::once_flag once;
  std::call_once(once, [] { llama_log_set(onLog, nullptr); });
}

Napi::Value setLogger(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  removeSink(env);
  if (!info[0].IsFunction()) return env.Undefined();
  LogFunction function = LogFunction::New(env, info[0].As<Napi::Function>(), "stator.llamacpp.log", kMaxQueuedLines, 1);
  function.Unref(env);
  {
    std::lock_guard lock(sinks().mutex);
    sinks().sinks.push_back({env, function});
  }
  // Hooks run before the function itself is finalised, so no thread can call a dead one.
  env.AddCleanupHook([raw = napi_env(env)] { removeSink(raw); });
  return env.Undefined();
}

}  // namespace stator
