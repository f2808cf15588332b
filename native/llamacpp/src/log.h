#pragma once

#include <napi.h>

namespace stator {

// Sends llama.cpp's log to the environments that asked for it and nowhere else. Process-wide, idempotent.
void installLog();

// setLogger(callback | null): callback(level, line), level as in ggml_log_level. One sink for each environment.
Napi::Value setLogger(const Napi::CallbackInfo& info);

}  // namespace stator
