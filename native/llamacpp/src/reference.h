#pragma once

#include <napi.h>

namespace stator {

// referenceGreedy(model, tokenIds, count): Promise<Uint32Array>. llama.cpp driven directly, one sequence in a context of
// its own: what the engine's greedy output is compared with in tests.
Napi::Value referenceGreedy(const Napi::CallbackInfo& info);

// referenceState(model, tokenIds, cells, rounds): Promise<Float64Array>. How fast llama.cpp alone writes and reads the state
// of one whole sequence, what benchmarks compare copies of blocks with: bytes, then in each round the microseconds of both.
Napi::Value referenceState(const Napi::CallbackInfo& info);

}  // namespace stator
