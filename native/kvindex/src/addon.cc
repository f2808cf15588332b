#include <napi.h>

#include "approximate_api.h"
#include "index_api.h"

namespace stator {
namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("createIndex", Napi::Function::New(env, createIndex, "createIndex"));
  exports.Set("createApproximate", Napi::Function::New(env, createApproximate, "createApproximate"));
  return exports;
}

NODE_API_MODULE(kvindex, init)

}  // namespace
}  // namespace stator
