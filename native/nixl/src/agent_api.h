#pragma once

#include <napi.h>

namespace stator::nixl {

// The functions of binding.d.ts, in its order.
Napi::Value libraryOpen(const Napi::CallbackInfo& info);
Napi::Value bufferAddress(const Napi::CallbackInfo& info);
Napi::Value agentCreate(const Napi::CallbackInfo& info);
Napi::Value agentPlugins(const Napi::CallbackInfo& info);
Napi::Value agentPluginInfo(const Napi::CallbackInfo& info);
Napi::Value agentCreateBackend(const Napi::CallbackInfo& info);
Napi::Value agentRegister(const Napi::CallbackInfo& info);
Napi::Value agentDeregister(const Napi::CallbackInfo& info);
Napi::Value agentQuery(const Napi::CallbackInfo& info);
Napi::Value agentMetadata(const Napi::CallbackInfo& info);
Napi::Value agentLoadRemote(const Napi::CallbackInfo& info);
Napi::Value agentForgetRemote(const Napi::CallbackInfo& info);
Napi::Value agentConnect(const Napi::CallbackInfo& info);
Napi::Value agentNotify(const Napi::CallbackInfo& info);
Napi::Value agentPrepare(const Napi::CallbackInfo& info);
Napi::Value agentReleasePrepared(const Napi::CallbackInfo& info);
Napi::Value agentTransfer(const Napi::CallbackInfo& info);
Napi::Value agentTransferPrepared(const Napi::CallbackInfo& info);
Napi::Value agentCancel(const Napi::CallbackInfo& info);
Napi::Value agentLingering(const Napi::CallbackInfo& info);
Napi::Value agentClose(const Napi::CallbackInfo& info);

}  // namespace stator::nixl
