#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <vector>

#include "agent.h"
#include "channel.h"

namespace stator::nixl {

// What an agent's handle owns: the agent, its way to JavaScript, the buffers that its registrations keep alive, and the
// hook that ends it with the environment. On the event loop only.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Napi::Env env, Napi::Function onNotifications);
  ~Session();

  void open(Library library, AgentOptions options, Napi::Promise::Deferred deferred);
  // Null once it was closed.
  Agent* agent() const { return agent_.get(); }
  const Channel& channel() const { return channel_; }
  uint64_t nextTransfer() { return ++lastTransfer_; }
  // Keeps buffers alive, first under a token of its own, then under the registration's number.
  uint64_t keep(std::vector<Napi::ObjectReference>&& buffers) {
    unregistered_[++lastToken_] = std::move(buffers);
    return lastToken_;
  }
  void registered(uint64_t token, uint32_t registration) { kept_[registration] = std::move(unregistered_[token]); }
  void refused(uint64_t token) { unregistered_.erase(token); }
  void drop(uint32_t registration) { kept_.erase(registration); }
  // Waits for the agent's thread, off the event loop unless the environment ends.
  void close(Napi::Env env, Napi::Promise::Deferred deferred);

 private:
  static void onEnvironmentEnd(void* self);
  void end(bool environmentEnds);
  void forget();

  napi_env env_;
  Channel channel_;
  std::shared_ptr<Napi::FunctionReference> onNotifications_;
  std::shared_ptr<Agent> agent_;
  std::map<uint32_t, std::vector<Napi::ObjectReference>> kept_;
  std::map<uint64_t, std::vector<Napi::ObjectReference>> unregistered_;
  // Holds the handle until the agent is open.
  Napi::Reference<Napi::Value> handle_;
  uint64_t lastTransfer_ = 0;
  uint64_t lastToken_ = 0;
  bool ended_ = false;
};

std::shared_ptr<Session> sessionFrom(const Napi::Value& value);
Napi::Value share(Napi::Env env, std::shared_ptr<Session> session);

}  // namespace stator::nixl
