#pragma once

#include <napi.h>

namespace stator {

// createApproximate(ttlMs, blocksPerSlot, maxBlocks, results): an object of functions, see binding.d.ts.
Napi::Value createApproximate(const Napi::CallbackInfo& info);

}  // namespace stator
