#include <napi.h>

#include "agent_api.h"

namespace stator::nixl {
namespace {

using Callback = Napi::Value (*)(const Napi::CallbackInfo&);

void define(Napi::Object exports, const char* name, Callback callback) {
  exports.Set(name, Napi::Function::New(exports.Env(), callback, name));
}

Napi::Object init(Napi::Env, Napi::Object exports) {
  define(exports, "libraryOpen", libraryOpen);
  define(exports, "bufferAddress", bufferAddress);
  define(exports, "agentCreate", agentCreate);
  define(exports, "agentPlugins", agentPlugins);
  define(exports, "agentPluginInfo", agentPluginInfo);
  define(exports, "agentCreateBackend", agentCreateBackend);
  define(exports, "agentRegister", agentRegister);
  define(exports, "agentDeregister", agentDeregister);
  define(exports, "agentQuery", agentQuery);
  define(exports, "agentMetadata", agentMetadata);
  define(exports, "agentLoadRemote", agentLoadRemote);
  define(exports, "agentForgetRemote", agentForgetRemote);
  define(exports, "agentConnect", agentConnect);
  define(exports, "agentNotify", agentNotify);
  define(exports, "agentPrepare", agentPrepare);
  define(exports, "agentReleasePrepared", agentReleasePrepared);
  define(exports, "agentTransfer", agentTransfer);
  define(exports, "agentTransferPrepared", agentTransferPrepared);
  define(exports, "agentCancel", agentCancel);
  define(exports, "agentLingering", agentLingering);
  define(exports, "agentClose", agentClose);
  return exports;
}

NODE_API_MODULE(nixl, init)

}  // namespace
}  // namespace stator::nixl
