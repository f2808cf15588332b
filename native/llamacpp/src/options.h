#pragma once

#include <napi.h>

#include "engine.h"

namespace stator {

// JavaScript objects of binding.d.ts as C++ structs. The TypeScript facade has checked ranges; wrong types throw.
EngineOptions engineOptions(const Napi::Object& from);
Request requestFrom(const Napi::Object& from);
std::vector<llama_token> tokensFrom(const Napi::Value& from);

}  // namespace stator
