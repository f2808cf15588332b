#pragma once

#include <napi.h>

#include <memory>
#include <utility>

#include "session.h"

namespace stator::nixl {

[[noreturn]] inline void closed() { throw NixlError("closed", "NIXL_ERR_NOT_ALLOWED", "", "The agent is closed."); }

// Settles a promise on the event loop; keeps the process alive until then.
class Pending {
 public:
  Pending(Napi::Env env, const std::shared_ptr<Session>& session)
      : channel_(session->channel()), deferred_(env) {
    channel_.expect(env);
  }
  Napi::Value promise() const { return deferred_.Promise(); }

  template <typename Result, typename Convert>
  void resolve(Result result, Convert convert) const {
    channel_.send([channel = channel_, deferred = deferred_, result = std::move(result), convert](Napi::Env env) mutable {
      channel.answered(env);
      deferred.Resolve(convert(env, result));
    });
  }
  void reject(ErrorInfo failure) const {
    channel_.send([channel = channel_, deferred = deferred_, failure = std::move(failure)](Napi::Env env) {
      channel.answered(env);
      deferred.Reject(toNapi(env, failure).Value());
    });
  }
  void abandon(Napi::Env env) const { channel_.answered(env); }

 private:
  Channel channel_;
  Napi::Promise::Deferred deferred_;
};

// Runs `work` on the agent's thread and settles a promise with `convert` of its result.
template <typename Work, typename Convert>
Napi::Value onAgent(Napi::Env env, const std::shared_ptr<Session>& session, Work work, Convert convert) {
  Agent* agent = session->agent();
  if (agent == nullptr) closed();
  const Pending pending(env, session);
  const bool accepted = agent->enqueue([pending, work = std::move(work), convert](Agent& on) mutable {
    try {
      pending.resolve(work(on), convert);
    } catch (const std::exception& error) {
      pending.reject(describe(error));
    }
  });
  if (!accepted) {
    pending.abandon(env);
    closed();
  }
  return pending.promise();
}

}  // namespace stator::nixl
