#include <napi.h>

#include "index_api.h"

namespace stator {
namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("createIndex", Napi::Function::New(env, createIndex, "createIndex"));
  return exports;
}

NODE_API_MODULE(kvindex, init)

}  // namespace
}  // namespace stator
