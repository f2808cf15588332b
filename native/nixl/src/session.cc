#include "session.h"

namespace stator::nixl {
namespace {

constexpr napi_type_tag kSessionTag = {0x6e1d09c47ab35f82, 0x93f0b6d25c4ea718};

// Joins the agent's thread on a thread of the pool.
class Closer : public Napi::AsyncWorker {
 public:
  Closer(Napi::Env env, std::shared_ptr<Agent> agent, std::shared_ptr<Session> session, Napi::Promise::Deferred deferred, std::function<void()> after)
      : Napi::AsyncWorker(env), agent_(std::move(agent)), session_(std::move(session)), deferred_(deferred), after_(std::move(after)) {}
  void Execute() override { agent_->stop(); }
  void OnOK() override {
    after_();
    deferred_.Resolve(Env().Undefined());
  }

 private:
  std::shared_ptr<Agent> agent_;
  std::shared_ptr<Session> session_;
  Napi::Promise::Deferred deferred_;
  std::function<void()> after_;
};

Napi::Value notificationsToNapi(Napi::Env env, const std::vector<Notification>& found) {
  Napi::Array array = Napi::Array::New(env, found.size());
  for (uint32_t i = 0; i < found.size(); ++i) {
    Napi::Object item = Napi::Object::New(env);
    item.Set("agent", found[i].agent);
    item.Set("message", Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(found[i].message.data()), found[i].message.size()));
    array.Set(i, item);
  }
  return array;
}

}  // namespace

Session::Session(Napi::Env env, Napi::Function onNotifications)
    : env_(env), channel_(env), onNotifications_(std::make_shared<Napi::FunctionReference>(Napi::Persistent(onNotifications))) {
  napi_add_env_cleanup_hook(env_, onEnvironmentEnd, this);
}

Session::~Session() {
  napi_remove_env_cleanup_hook(env_, onEnvironmentEnd, this);
  end(false);
}

void Session::onEnvironmentEnd(void* self) { static_cast<Session*>(self)->end(true); }

void Session::end(bool environmentEnds) {
  if (ended_) return;
  ended_ = true;
  if (agent_) agent_->stop();
  agent_.reset();
  forget();
  channel_.close(environmentEnds);
}

void Session::forget() {
  kept_.clear();
  unregistered_.clear();
  onNotifications_.reset();
  handle_.Reset();
}

void Session::open(Library library, AgentOptions options, Napi::Promise::Deferred deferred) {
  channel_.expect(env_);
  const auto self = shared_from_this();
  // Weak: what the agent's thread holds must not keep the session that joins it.
  const Channel channel = channel_;
  auto notify = [channel, weak = std::weak_ptr<Napi::FunctionReference>(onNotifications_)](std::vector<Notification>&& found) {
    channel.send([weak, found = std::move(found)](Napi::Env env) {
      const auto listener = weak.lock();
      if (listener) listener->Call({notificationsToNapi(env, found)});
    });
  };
  handle_ = Napi::Reference<Napi::Value>::New(share(env_, self), 1);
  auto opened = [channel, deferred, weak = std::weak_ptr<Session>(self)](std::optional<ErrorInfo> failure) {
    channel.send([channel, deferred, weak, failure = std::move(failure)](Napi::Env env) {
      channel.answered(env);
      const auto session = weak.lock();
      if (!session) return;
      if (failure) deferred.Reject(toNapi(env, *failure).Value());
      else deferred.Resolve(session->handle_.Value());
      session->handle_.Reset();
    });
  };
  agent_ = std::make_shared<Agent>(std::move(library), std::move(options), std::move(notify), std::move(opened));
}

void Session::close(Napi::Env env, Napi::Promise::Deferred deferred) {
  if (!agent_ || ended_) {
    deferred.Resolve(env.Undefined());
    return;
  }
  const auto self = shared_from_this();
  auto agent = std::exchange(agent_, nullptr);
  auto* closer = new Closer(env, std::move(agent), self, deferred, [this] {
    forget();
    if (!ended_) channel_.close(false);
    ended_ = true;
  });
  closer->Queue();
}

Napi::Value share(Napi::Env env, std::shared_ptr<Session> session) {
  auto* owner = new std::shared_ptr<Session>(std::move(session));
  auto external = Napi::External<std::shared_ptr<Session>>::New(env, owner, [](Napi::Env, std::shared_ptr<Session>* held) { delete held; });
  external.TypeTag(&kSessionTag);
  return external;
}

std::shared_ptr<Session> sessionFrom(const Napi::Value& value) {
  if (!value.IsExternal() || !value.As<Napi::External<std::shared_ptr<Session>>>().CheckTypeTag(&kSessionTag)) {
    throw Napi::TypeError::New(value.Env(), "not an agent's handle");
  }
  return *value.As<Napi::External<std::shared_ptr<Session>>>().Data();
}

}  // namespace stator::nixl
