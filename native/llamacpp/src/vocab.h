#pragma once

#include <napi.h>

namespace stator {

// vocabTokenize(model, text, addSpecial, parseSpecial): Promise<Uint32Array>
Napi::Value vocabTokenize(const Napi::CallbackInfo& info);
// vocabTokenizeNow(model, text, addSpecial, parseSpecial): Uint32Array, on the event loop: for short texts
Napi::Value vocabTokenizeNow(const Napi::CallbackInfo& info);
// vocabTable(model): bytes of every token's text, offsets, attributes and special ids
Napi::Value vocabTable(const Napi::CallbackInfo& info);

}  // namespace stator
