#pragma once

#include <napi.h>

namespace stator {

// createIndex(maxBlocks, maxSlots, hitWindow, results, numbers): an object of functions, see binding.d.ts.
Napi::Value createIndex(const Napi::CallbackInfo& info);

}  // namespace stator
