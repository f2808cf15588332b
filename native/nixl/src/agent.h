#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "scoped.h"

namespace stator::nixl {

using Clock = std::chrono::steady_clock;

// A piece of memory, of a file or of an object. The address is an offset for the latter two, the device their number.
struct Range {
  uintptr_t address;
  size_t bytes;
  uint64_t device;
};

struct RangeList {
  MemoryType type;
  std::vector<Range> ranges;
  // Only to register: one text a range, for example a path or an object's key.
  std::vector<std::string> meta;
};

struct AgentOptions {
  std::string name;
  uint64_t progressDelayUs;
  uint64_t notificationPollUs;
  unsigned int workers;
  bool telemetry;
};

struct BackendInfo {
  uint32_t id;
  std::vector<MemoryType> memories;
  std::map<std::string, std::string> parameters;
};

struct Outcome {
  std::optional<ErrorInfo> failure;
  std::optional<TransferTelemetry> telemetry;
};

struct TransferOptions {
  uint64_t id;
  Operation operation;
  uint32_t backend;  // 0: NIXL chooses
  std::optional<std::string> notification;
  Clock::time_point deadline;
};

struct Notification {
  std::string agent;
  std::string message;
};

// One NIXL agent and the thread that alone touches it. Posting blocks while the CPU copies, so that it must never happen
// on the event loop; completion can only be polled.
class Agent {
 public:
  using Job = std::function<void(Agent&)>;
  using Done = std::function<void(Outcome&&)>;
  using Notify = std::function<void(std::vector<Notification>&&)>;

  // Opens the agent on its new thread. `opened` is called there once, with the failure if it could not be opened.
  Agent(Library library, AgentOptions options, Notify notify, std::function<void(std::optional<ErrorInfo>)> opened);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // From any thread. False once the agent has been told to stop: the job will not run.
  bool enqueue(Job job);
  // Ends what is in flight with NIXL_ERR_CANCELED, then the agent. Waits for the thread. Idempotent.
  void stop();

  // The rest runs on the agent's thread, inside jobs. All throw NixlError.
  std::vector<std::string> plugins();
  BackendInfo pluginInfo(const std::string& plugin);
  BackendInfo createBackend(const std::string& plugin, const std::map<std::string, std::string>& parameters);
  uint32_t registerMemory(const RangeList& list, uint32_t backend);
  void deregisterMemory(uint32_t id);
  std::vector<bool> query(const RangeList& list, uint32_t backend);
  std::string metadata();
  std::string loadRemote(const std::string& metadata);
  void forgetRemote(const std::string& name);
  void connect(const std::string& name);
  void notify(const std::string& remote, const std::string& message);
  uint32_t prepare(const std::string& owner, const RangeList& list, uint32_t backend);
  void releasePrepared(uint32_t id);
  // Both call `done` exactly once, also when they fail at once.
  void transfer(const TransferOptions& options, const RangeList& local, const std::string& remote, const RangeList& remoteList, Done done);
  void transferPrepared(const TransferOptions& options, uint32_t local, const std::vector<int>& localIndices, uint32_t remote,
                        const std::vector<int>& remoteIndices, Done done);
  void cancel(uint64_t id);
  // Requests that were given up but whose memory NIXL may still touch.
  size_t lingering() const { return lingering_.size(); }

 private:
  struct Registration {
    Scoped<RegistrationList> list;
    MemoryType type;
    std::vector<Range> ranges;
    uint32_t backend;
    size_t inFlight = 0;
  };
  struct Prepared {
    PreparedList handle;
    std::string owner;
    std::vector<size_t> lengths;
    std::set<uint32_t> registrations;
    size_t inFlight = 0;
  };
  struct Transfer {
    uint64_t id;
    Request request;
    Clock::time_point deadline;
    std::set<uint32_t> registrations;
    std::set<uint32_t> prepared;
    Done done;
  };

  void run(std::function<void(std::optional<ErrorInfo>)> opened);
  void open();
  void close();
  void work();
  bool runJobs();
  bool pollTransfers();
  bool pollLingering();
  void pollNotifications();
  void idle(bool active);
  void post(const TransferOptions& options, Request request, OptionalArgs args, std::set<uint32_t> registrations,
            std::set<uint32_t> prepared, Done done);
  void settle(Transfer& transfer, Outcome outcome);
  void giveUp(Transfer& transfer, NixlError why);
  void hold(const Transfer& transfer, int change);
  bool released(Request request);
  BackendHandle backendOf(uint32_t id) const;
  void requireRemote(const std::string& name) const;
  std::set<uint32_t> covering(const RangeList& list, const std::string& field) const;
  Scoped<RegistrationList> registrationList(const RangeList& list) const;
  Scoped<TransferList> transferList(const RangeList& list) const;
  void describe(MemoryList memories, Params params, BackendInfo& into) const;

  const Library library_;
  const Functions& f_;
  const AgentOptions options_;
  const Notify notify_;
  AgentHandle handle_ = nullptr;
  uint32_t nextId_ = 1;
  std::map<uint32_t, BackendHandle> backends_;
  std::map<uint32_t, Registration> registrations_;
  std::map<uint32_t, Prepared> prepared_;
  std::set<std::string> remotes_;
  std::vector<Transfer> transfers_;
  std::vector<Transfer> lingering_;
  Scoped<NotificationMap> notifications_;
  Clock::time_point nextNotificationPoll_;
  Clock::time_point lastActive_;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace stator::nixl
