#pragma once

#include <napi.h>

namespace stator {

// engineKvFormat(engine): KvFormat | null
Napi::Value engineKvFormat(const Napi::CallbackInfo& info);
// engineKvCopy(engine, transfer): Promise<number>
Napi::Value engineKvCopy(const Napi::CallbackInfo& info);
// engineKvCancel(engine, id)
Napi::Value engineKvCancel(const Napi::CallbackInfo& info);
// engineKvAccept(engine, id, sound): Promise<number>
Napi::Value engineKvAccept(const Napi::CallbackInfo& info);
// engineKvRelease(engine, id): Promise<void>
Napi::Value engineKvRelease(const Napi::CallbackInfo& info);

}  // namespace stator
