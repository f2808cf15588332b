#include "agent.h"

namespace stator::nixl {
namespace {

using std::chrono::microseconds;
// How long completions are polled without a pause, and the pauses after that.
constexpr microseconds kSpin{100};
// After a transfer: the next one of a row comes sooner than a sleeping thread would be awake.
constexpr microseconds kLinger{50};
constexpr microseconds kPause{50};
constexpr microseconds kLingeringPause{20'000};

}  // namespace

Agent::Agent(Library library, AgentOptions options, Notify notify, std::function<void(std::optional<ErrorInfo>)> opened)
    : library_(std::move(library)), f_(*library_), options_(std::move(options)), notify_(std::move(notify)) {
  thread_ = std::thread([this, opened = std::move(opened)] { run(opened); });
}

Agent::~Agent() { stop(); }

bool Agent::enqueue(Job job) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return false;
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
  return true;
}

void Agent::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Agent::run(std::function<void(std::optional<ErrorInfo>)> opened) {
  try {
    open();
  } catch (const std::exception& error) {
    opened(nixl::describe(error));
    close();
    return;
  }
  opened(std::nullopt);
  work();
  close();
}

void Agent::open() {
  AgentConfig config{};
  // Off, completions with a notification wait for the peer to poll; with no delay, UCX's progress thread spins.
  config.progressThread = true;
  config.progressDelayUs = options_.progressDelayUs;
  config.threadSync = kSyncStrict;
  config.workers = options_.workers;
  config.listenDelayUs = options_.progressDelayUs;
  config.telemetry = options_.telemetry;
  require(f_.create_configured_agent(options_.name.c_str(), &config, &handle_), "creating agent " + options_.name);
  NotificationMap map = nullptr;
  require(f_.create_notif_map(&map), "creating a map of notifications");
  notifications_ = Scoped<NotificationMap>(map, f_.destroy_notif_map);
}

void Agent::work() {
  while (runJobs()) {
    const bool active = pollTransfers();
    pollLingering();
    pollNotifications();
    idle(active);
  }
}

// False when the agent shall stop; jobs that were accepted before have run by then.
bool Agent::runJobs() {
  std::unique_lock lock(mutex_);
  while (!jobs_.empty()) {
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job(*this);
    lock.lock();
  }
  return !stopping_;
}

void Agent::idle(bool active) {
  const auto now = Clock::now();
  if (active) lastActive_ = now;
  if (now - lastActive_ < (transfers_.empty() ? kLinger : kSpin)) return;
  auto until = Clock::time_point::max();
  if (!transfers_.empty()) until = now + kPause;
  if (!lingering_.empty()) until = std::min(until, now + kLingeringPause);
  if (options_.notificationPollUs > 0) until = std::min(until, nextNotificationPoll_);
  std::unique_lock lock(mutex_);
  const auto ready = [this] { return stopping_ || !jobs_.empty(); };
  if (until == Clock::time_point::max()) wake_.wait(lock, ready);
  else wake_.wait_until(lock, until, ready);
}

void Agent::pollNotifications() {
  const auto now = Clock::now();
  if (options_.notificationPollUs == 0 || now < nextNotificationPoll_) return;
  nextNotificationPoll_ = now + microseconds(options_.notificationPollUs);
  NotificationMap map = notifications_.get();
  if (backends_.empty() || f_.get_notifs(handle_, map, nullptr) != kSuccess) return;
  size_t agents = 0;
  if (f_.notif_map_size(map, &agents) != kSuccess || agents == 0) return;
  std::vector<Notification> found;
  for (size_t i = 0; i < agents; ++i) {
    const char* name = nullptr;
    size_t count = 0;
    if (f_.notif_map_get_agent_at(map, i, &name) != kSuccess) continue;
    if (f_.notif_map_get_notifs_size(map, name, &count) != kSuccess) continue;
    for (size_t k = 0; k < count; ++k) {
      const void* data = nullptr;
      size_t length = 0;
      if (f_.notif_map_get_notif(map, name, k, &data, &length) != kSuccess) continue;
      found.push_back({name, std::string(static_cast<const char*>(data), length)});
    }
  }
  f_.notif_map_clear(map);
  if (!found.empty()) notify_(std::move(found));
}

void Agent::close() {
  std::vector<Transfer> open;
  open.swap(transfers_);
  for (Transfer& transfer : open) {
    giveUp(transfer, NixlError("canceled", "NIXL_ERR_CANCELED", "", "The agent was closed during the transfer."));
  }
  pollLingering();
  if (handle_ == nullptr) return;
  for (auto& [id, prepared] : prepared_) f_.release_xfer_dlist_handle(handle_, prepared.handle);
  // What lingers may still be written to by NIXL; deregistering it is left to the agent's own end.
  for (auto& [id, registration] : registrations_) {
    if (registration.inFlight == 0) f_.deregister_mem(handle_, registration.list.get(), nullptr);
  }
  for (const std::string& remote : remotes_) f_.invalidate_remote_md(handle_, remote.c_str());
  for (auto& [id, backend] : backends_) f_.destroy_backend(backend);
  f_.destroy_agent(handle_);
  handle_ = nullptr;
}

}  // namespace stator::nixl
