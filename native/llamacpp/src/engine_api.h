#pragma once

#include <napi.h>

namespace stator {

// engineCreate(model, options, onSteps): Promise<EngineHandle>
Napi::Value engineCreate(const Napi::CallbackInfo& info);
// engineSubmit(engine, request)
Napi::Value engineSubmit(const Napi::CallbackInfo& info);
// engineCancel(engine, handle)
Napi::Value engineCancel(const Napi::CallbackInfo& info);
// engineClearCache(engine): Promise<number>
Napi::Value engineClearCache(const Napi::CallbackInfo& info);
// engineSnapshot(engine): Promise<KvChange[]>
Napi::Value engineSnapshot(const Napi::CallbackInfo& info);
// engineLoadAdapter(engine, name, path, scale): Promise<boolean>
Napi::Value engineLoadAdapter(const Napi::CallbackInfo& info);
// engineUnloadAdapter(engine, name): Promise<void>
Napi::Value engineUnloadAdapter(const Napi::CallbackInfo& info);
// enginesStop(): ends the threads of all engines of this environment, at once. For process exit: it runs no environment
// hooks, and a thread that still computes would read what exit destroys.
Napi::Value enginesStop(const Napi::CallbackInfo& info);
// engineStop(engine): Promise<void>
Napi::Value engineStop(const Napi::CallbackInfo& info);

}  // namespace stator
