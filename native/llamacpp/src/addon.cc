#include <napi.h>

#include "embedder.h"
#include "engine_api.h"
#include "kv_api.h"
#include "log.h"
#include "model.h"
#include "reference.h"
#include "vocab.h"

namespace stator {
namespace {

using Callback = Napi::Value (*)(const Napi::CallbackInfo&);

void define(Napi::Object exports, const char* name, Callback callback) {
  exports.Set(name, Napi::Function::New(exports.Env(), callback, name));
}

Napi::Object init(Napi::Env, Napi::Object exports) {
  define(exports, "setLogger", setLogger);
  define(exports, "backendInit", backendInit);
  define(exports, "modelLoad", modelLoad);
  define(exports, "modelInfo", modelInfo);
  define(exports, "modelFree", modelFree);
  define(exports, "vocabTokenize", vocabTokenize);
  define(exports, "vocabTokenizeNow", vocabTokenizeNow);
  define(exports, "vocabTable", vocabTable);
  define(exports, "engineCreate", engineCreate);
  define(exports, "engineSubmit", engineSubmit);
  define(exports, "engineCancel", engineCancel);
  define(exports, "engineClearCache", engineClearCache);
  define(exports, "engineSnapshot", engineSnapshot);
  define(exports, "engineLoadAdapter", engineLoadAdapter);
  define(exports, "engineUnloadAdapter", engineUnloadAdapter);
  define(exports, "engineKvFormat", engineKvFormat);
  define(exports, "engineKvCopy", engineKvCopy);
  define(exports, "engineKvCancel", engineKvCancel);
  define(exports, "engineKvAccept", engineKvAccept);
  define(exports, "engineKvRelease", engineKvRelease);
  define(exports, "enginesStop", enginesStop);
  define(exports, "engineStop", engineStop);
  define(exports, "embedderCreate", embedderCreate);
  define(exports, "embedderInfo", embedderInfo);
  define(exports, "embedderRun", embedderRun);
  define(exports, "embedderStop", embedderStop);
  define(exports, "referenceGreedy", referenceGreedy);
  define(exports, "referenceState", referenceState);
  return exports;
}

NODE_API_MODULE(llamacpp, init)

}  // namespace
}  // namespace stator
