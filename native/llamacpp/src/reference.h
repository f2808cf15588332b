#pragma once

#include <napi.h>

namespace stator {

// referenceGreedy(model, tokenIds, count): Promise<Uint32Array>. llama.cpp driven directly, one sequence in a context of
// its own: what the engine's greedy output is compared with in tests.
Napi::Value referenceGreedy(const Napi::CallbackInfo& info);

}  // namespace stator
