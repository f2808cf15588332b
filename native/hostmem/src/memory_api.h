#pragma once

#include <napi.h>

namespace stator::hostmem {

Napi::Value allocate(const Napi::CallbackInfo& info);
Napi::Value openSharedFile(const Napi::CallbackInfo& info);
Napi::Value release(const Napi::CallbackInfo& info);
Napi::Value hold(const Napi::CallbackInfo& info);
Napi::Value populate(const Napi::CallbackInfo& info);
Napi::Value openLender(const Napi::CallbackInfo& info);
Napi::Value closeLender(const Napi::CallbackInfo& info);
Napi::Value copyLent(const Napi::CallbackInfo& info);
Napi::Value bulk(const Napi::CallbackInfo& info);

}  // namespace stator::hostmem
