#include "agent_api.h"

#include "arguments.h"
#include "library.h"
#include "on_agent.h"

namespace stator::nixl {
namespace {

constexpr napi_type_tag kLibraryTag = {0x4c7be2f0193d48a6, 0x8d52af61e07b3c94};

Library libraryFrom(const Napi::Value& value) {
  if (!value.IsExternal() || !value.As<Napi::External<Library>>().CheckTypeTag(&kLibraryTag))
    throw Napi::TypeError::New(value.Env(), "not a library's handle");
  return *value.As<Napi::External<Library>>().Data();
}

struct Registered {
  uint32_t id;
  std::optional<ErrorInfo> failure;
};

Napi::Value nothing(Napi::Env env, bool&) { return env.Undefined(); }

Napi::Value asNumber(Napi::Env env, uint32_t& value) { return Napi::Number::New(env, value); }

Napi::Value asText(Napi::Env env, std::string& value) { return Napi::String::New(env, value); }

Napi::Value asTexts(Napi::Env env, std::vector<std::string>& values) {
  Napi::Array array = Napi::Array::New(env, values.size());
  for (uint32_t i = 0; i < values.size(); ++i) array.Set(i, values[i]);
  return array;
}

Napi::Value asBackend(Napi::Env env, BackendInfo& info) {
  Napi::Object object = Napi::Object::New(env);
  Napi::Array memories = Napi::Array::New(env, info.memories.size());
  for (uint32_t i = 0; i < info.memories.size(); ++i) memories.Set(i, memoryName(info.memories[i]));
  Napi::Object parameters = Napi::Object::New(env);
  for (const auto& [key, value] : info.parameters) parameters.Set(key, value);
  object.Set("id", info.id);
  object.Set("memories", memories);
  object.Set("parameters", parameters);
  return object;
}

Napi::Value asTelemetry(Napi::Env env, std::optional<TransferTelemetry>& telemetry) {
  if (!telemetry) return env.Null();
  Napi::Object object = Napi::Object::New(env);
  object.Set("startUs", Napi::Number::New(env, static_cast<double>(telemetry->startUs)));
  object.Set("postUs", Napi::Number::New(env, static_cast<double>(telemetry->postUs)));
  object.Set("transferUs", Napi::Number::New(env, static_cast<double>(telemetry->transferUs)));
  object.Set("bytes", Napi::Number::New(env, static_cast<double>(telemetry->bytes)));
  object.Set("descriptors", Napi::Number::New(env, static_cast<double>(telemetry->descriptors)));
  return object;
}

struct Sides {
  RangeList local;
  RangeList remote;
};

Sides sidesOf(const Napi::Value& localValue, const Napi::Value& remoteValue) {
  Sides sides{rangeList(localValue, "local"), rangeList(remoteValue, "remote")};
  const auto& [local, remote] = sides;
  if (local.ranges.size() != remote.ranges.size())
    throw NixlError("invalid_argument", "NIXL_ERR_MISMATCH", "remote", "local and remote must have as many ranges.");
  for (size_t i = 0; i < local.ranges.size(); ++i) {
    if (local.ranges[i].bytes != remote.ranges[i].bytes)
      throw NixlError("invalid_argument", "NIXL_ERR_MISMATCH", "remote", "The ranges at place " + std::to_string(i) + " differ in length.");
  }
  return sides;
}

// Starts a transfer and returns { id, done }.
template <typename Start>
Napi::Value startTransfer(const Napi::CallbackInfo& info, Start start) {
  Napi::Env env = info.Env();
  const auto session = sessionFrom(info[0]);
  if (session->agent() == nullptr) closed();
  const TransferOptions options = transferOptions(info[1], session->nextTransfer());
  const Pending pending(env, session);
  Agent::Done done = [pending](Outcome&& outcome) {
    if (outcome.failure) pending.reject(*outcome.failure);
    else pending.resolve(outcome.telemetry, asTelemetry);
  };
  if (!session->agent()->enqueue([start = std::move(start), options, done](Agent& agent) { start(agent, options, done); })) {
    pending.abandon(env);
    closed();
  }
  Napi::Object handle = Napi::Object::New(env);
  handle.Set("id", Napi::Number::New(env, static_cast<double>(options.id)));
  handle.Set("done", pending.promise());
  return handle;
}

}  // namespace

Napi::Value libraryOpen(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto external = Napi::External<Library>::New(env, new Library(loadLibrary(text(info[0], "library"))),
                                                 [](Napi::Env, Library* held) { delete held; });
    external.TypeTag(&kLibraryTag);
    return external;
  });
}

Napi::Value bufferAddress(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    if (!info[0].IsTypedArray()) throw invalid("buffer", "buffer must be a typed array.");
    const auto array = info[0].As<Napi::TypedArray>();
    const auto start = reinterpret_cast<uintptr_t>(array.ArrayBuffer().Data()) + array.ByteOffset();
    return Napi::BigInt::New(env, static_cast<uint64_t>(start));
  });
}

Napi::Value agentCreate(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const Library library = libraryFrom(info[0]);
    const auto given = info[1].As<Napi::Object>();
    AgentOptions options{text(given.Get("name"), "name"), number(given.Get("progressDelayUs"), "progressDelayUs"),
                         number(given.Get("notificationPollUs"), "notificationPollUs"), number(given.Get("workers"), "workers"),
                         given.Get("telemetry").ToBoolean().Value()};
    if (options.name.empty()) throw invalid("name", "name must not be empty.");
    if (options.progressDelayUs == 0) throw invalid("progressDelayUs", "progressDelayUs must be positive: 0 makes a thread spin.");
    if (!info[2].IsFunction()) throw invalid("onNotifications", "onNotifications must be a function.");
    const Napi::Promise::Deferred deferred(env);
    std::make_shared<Session>(env, info[2].As<Napi::Function>())->open(library, std::move(options), deferred);
    return deferred.Promise();
  });
}

Napi::Value agentPlugins(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return onAgent(info.Env(), sessionFrom(info[0]), [](Agent& agent) { return agent.plugins(); }, asTexts); });
}

Napi::Value agentPluginInfo(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return onAgent(info.Env(), sessionFrom(info[0]), [plugin = text(info[1], "plugin")](Agent& agent) { return agent.pluginInfo(plugin); }, asBackend);
  });
}

Napi::Value agentCreateBackend(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [plugin = text(info[1], "plugin"), parameters = textMap(info[2], "parameters")](Agent& agent) {
      return agent.createBackend(plugin, parameters);
    };
    return onAgent(info.Env(), sessionFrom(info[0]), std::move(work), asBackend);
  });
}

Napi::Value agentRegister(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto session = sessionFrom(info[0]);
    if (session->agent() == nullptr) closed();
    auto list = rangeList(info[1], "memory");
    const uint32_t backend = number(info[2], "backend");
    std::vector<Napi::ObjectReference> held;
    const auto buffers = info[3].As<Napi::Array>();
    for (uint32_t i = 0; i < buffers.Length(); ++i) held.push_back(Napi::Persistent(Napi::Value(buffers.Get(i)).As<Napi::Object>()));
    // References may be touched on the event loop only, so that the agent's thread gets a number for them.
    const uint64_t token = session->keep(std::move(held));
    auto work = [list = std::move(list), backend](Agent& agent) -> Registered {
      try {
        return {agent.registerMemory(list, backend), std::nullopt};
      } catch (const std::exception& error) {
        return {0, describe(error)};
      }
    };
    return onAgent(info.Env(), session, std::move(work), [weak = std::weak_ptr<Session>(session), token](Napi::Env env, Registered& result) -> Napi::Value {
      const auto alive = weak.lock();
      if (alive && result.failure) alive->refused(token);
      if (alive && !result.failure) alive->registered(token, result.id);
      Napi::Object answer = Napi::Object::New(env);
      answer.Set("id", result.id);
      answer.Set("failure", result.failure ? toNapi(env, *result.failure).Value() : env.Null());
      return answer;
    });
  });
}

Napi::Value agentDeregister(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto session = sessionFrom(info[0]);
    const uint32_t id = number(info[1], "registration");
    auto work = [id](Agent& agent) {
      agent.deregisterMemory(id);
      return true;
    };
    return onAgent(info.Env(), session, std::move(work), [weak = std::weak_ptr<Session>(session), id](Napi::Env env, bool&) -> Napi::Value {
      if (const auto alive = weak.lock()) alive->drop(id);
      return env.Undefined();
    });
  });
}

Napi::Value agentQuery(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [list = rangeList(info[1], "memory"), backend = number(info[2], "backend")](Agent& agent) { return agent.query(list, backend); };
    return onAgent(info.Env(), sessionFrom(info[0]), std::move(work), [](Napi::Env env, std::vector<bool>& present) -> Napi::Value {
      Napi::Array array = Napi::Array::New(env, present.size());
      for (uint32_t i = 0; i < present.size(); ++i) array.Set(i, Napi::Boolean::New(env, present[i]));
      return array;
    });
  });
}

Napi::Value agentMetadata(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return onAgent(info.Env(), sessionFrom(info[0]), [](Agent& agent) { return agent.metadata(); }, [](Napi::Env env, std::string& data) -> Napi::Value {
      return Napi::Buffer<uint8_t>::Copy(env, reinterpret_cast<const uint8_t*>(data.data()), data.size());
    });
  });
}

Napi::Value agentLoadRemote(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return onAgent(info.Env(), sessionFrom(info[0]), [data = bytes(info[1], "metadata")](Agent& agent) { return agent.loadRemote(data); }, asText);
  });
}

Napi::Value agentForgetRemote(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [name = text(info[1], "remote")](Agent& agent) { return agent.forgetRemote(name), true; };
    return onAgent(info.Env(), sessionFrom(info[0]), std::move(work), nothing);
  });
}

Napi::Value agentConnect(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [name = text(info[1], "remote")](Agent& agent) { return agent.connect(name), true; };
    return onAgent(info.Env(), sessionFrom(info[0]), std::move(work), nothing);
  });
}

Napi::Value agentNotify(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [name = text(info[1], "remote"), message = bytes(info[2], "message")](Agent& agent) { return agent.notify(name, message), true; };
    return onAgent(info.Env(), sessionFrom(info[0]), std::move(work), nothing);
  });
}

Napi::Value agentPrepare(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [owner = text(info[1], "owner"), list = rangeList(info[2], "ranges"), backend = number(info[3], "backend")](Agent& agent) {
      return agent.prepare(owner, list, backend);
    };
    return onAgent(info.Env(), sessionFrom(info[0]), std::move(work), asNumber);
  });
}

Napi::Value agentReleasePrepared(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto work = [id = number(info[1], "prepared")](Agent& agent) { return agent.releasePrepared(id), true; };
    return onAgent(info.Env(), sessionFrom(info[0]), std::move(work), nothing);
  });
}

Napi::Value agentTransfer(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Sides sides = sidesOf(info[2], info[4]);
    const std::string owner = text(info[3], "owner");
    if (!info[5].IsObject()) {
      return startTransfer(info, [sides, owner](Agent& agent, const TransferOptions& options, const Agent::Done& done) {
        agent.transfer(options, sides.local, owner, sides.remote, done);
      });
    }
    // What is to be read once the data is there, without asking the event loop in between.
    const auto given = info[5].As<Napi::Object>();
    const Sides next = sidesOf(given.Get("local"), given.Get("remote"));
    return startTransfer(info, [sides, owner, next](Agent& agent, const TransferOptions& options, const Agent::Done& done) {
      agent.transfer(options, sides.local, owner, sides.remote, [&agent, owner, next, options, done](Outcome&& outcome) {
        if (outcome.failure) return done(std::move(outcome));
        TransferOptions reading = options;
        reading.operation = kRead;
        reading.notification.reset();
        agent.transfer(reading, next.local, owner, next.remote, [done](Outcome&& last) {
          if (last.failure) last.failure->field = "next";
          done(std::move(last));
        });
      });
    });
  });
}

Napi::Value agentTransferPrepared(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const uint32_t local = number(info[2], "local");
    const auto localIndices = indices(info[3], "localIndices");
    const uint32_t remote = number(info[4], "remote");
    const auto remoteIndices = indices(info[5], "remoteIndices");
    if (localIndices.size() != remoteIndices.size())
      throw NixlError("invalid_argument", "NIXL_ERR_MISMATCH", "remoteIndices", "localIndices and remoteIndices must be equally long.");
    return startTransfer(info, [=](Agent& agent, const TransferOptions& options, const Agent::Done& done) {
      agent.transferPrepared(options, local, localIndices, remote, remoteIndices, done);
    });
  });
}

Napi::Value agentCancel(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto session = sessionFrom(info[0]);
    const auto id = static_cast<uint64_t>(info[1].As<Napi::Number>().Int64Value());
    if (Agent* agent = session->agent()) agent->enqueue([id](Agent& on) { on.cancel(id); });
    return info.Env().Undefined();
  });
}

Napi::Value agentLingering(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return onAgent(info.Env(), sessionFrom(info[0]), [](Agent& agent) { return static_cast<uint32_t>(agent.lingering()); }, asNumber);
  });
}

Napi::Value agentClose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Napi::Promise::Deferred deferred(info.Env());
    sessionFrom(info[0])->close(info.Env(), deferred);
    return deferred.Promise();
  });
}

}  // namespace stator::nixl
