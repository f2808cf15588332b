#include <cstdlib>

#include "agent.h"

namespace stator::nixl {
namespace {

NixlError mismatch(const std::string& message) { return {"invalid_argument", "NIXL_ERR_MISMATCH", "ranges", message}; }

NixlError late() { return {"deadline_exceeded", "NIXL_ERR_CANCELED", "", "The transfer was not done at its deadline."}; }

}  // namespace

std::string Agent::metadata() {
  void* data = nullptr;
  size_t length = 0;
  require(f_.get_local_md(handle_, &data, &length), "exporting metadata");
  const std::unique_ptr<void, decltype(&std::free)> owned(data, std::free);
  return {static_cast<const char*>(data), length};
}

std::string Agent::loadRemote(const std::string& metadata) {
  char* raw = nullptr;
  require(f_.load_remote_md(handle_, metadata.data(), metadata.size(), &raw), "loading a peer's metadata");
  const std::unique_ptr<char, decltype(&std::free)> owned(raw, std::free);
  std::string name(raw == nullptr ? "" : raw);
  remotes_.insert(name);
  return name;
}

void Agent::requireRemote(const std::string& name) const {
  if (name != options_.name && !remotes_.contains(name)) throw notFound("remote", "No metadata of agent " + name + " was loaded.");
}

void Agent::forgetRemote(const std::string& name) {
  requireRemote(name);
  remotes_.erase(name);
  require(f_.invalidate_remote_md(handle_, name.c_str()), "forgetting agent " + name);
}

void Agent::connect(const std::string& name) {
  requireRemote(name);
  require(f_.agent_make_connection(handle_, name.c_str(), nullptr), "connecting to agent " + name);
}

void Agent::notify(const std::string& remote, const std::string& message) {
  requireRemote(remote);
  require(f_.gen_notif(handle_, remote.c_str(), message.data(), message.size(), nullptr), "notifying agent " + remote);
}

void Agent::transfer(const TransferOptions& options, const RangeList& local, const std::string& remote, const RangeList& remoteList, Done done) {
  try {
    requireRemote(remote);
    std::set<uint32_t> used = covering(local, "local");
    if (remote == options_.name) used.merge(covering(remoteList, "remote"));
    const auto localHandle = transferList(local);
    const auto remoteHandle = transferList(remoteList);
    const std::string* notification = options.notification ? &*options.notification : nullptr;
    const auto args = optionalArgs(f_, backendOf(options.backend), notification);
    Request request = nullptr;
    require(f_.create_xfer_req(handle_, options.operation, localHandle.get(), remoteHandle.get(), remote.c_str(), &request, args.get()),
            "creating a transfer with agent " + remote);
    post(options, request, args.get(), std::move(used), {}, done);
  } catch (const std::exception& error) {
    done({nixl::describe(error), std::nullopt});
  }
}

void Agent::transferPrepared(const TransferOptions& options, uint32_t local, const std::vector<int>& localIndices, uint32_t remote,
                             const std::vector<int>& remoteIndices, Done done) {
  try {
    const auto localFound = prepared_.find(local);
    const auto remoteFound = prepared_.find(remote);
    if (localFound == prepared_.end()) throw notFound("local", "This agent has no such prepared list.");
    if (remoteFound == prepared_.end()) throw notFound("remote", "This agent has no such prepared list.");
    if (!localFound->second.owner.empty()) throw invalid("local", "The local list must be prepared for no owner.");
    if (remoteFound->second.owner.empty()) throw invalid("remote", "The remote list must be prepared for its owner.");
    for (size_t i = 0; i < localIndices.size(); ++i) {
      const auto length = [&](const Prepared& prepared, int index) {
        if (index < 0 || static_cast<size_t>(index) >= prepared.lengths.size()) throw mismatch("Index " + std::to_string(index) + " is out of range.");
        return prepared.lengths[static_cast<size_t>(index)];
      };
      if (length(localFound->second, localIndices[i]) != length(remoteFound->second, remoteIndices[i]))
        throw mismatch("The ranges at place " + std::to_string(i) + " differ in length.");
    }
    const std::string* notification = options.notification ? &*options.notification : nullptr;
    const auto args = optionalArgs(f_, backendOf(options.backend), notification);
    Request request = nullptr;
    require(f_.make_xfer_req(handle_, options.operation, localFound->second.handle, localIndices.data(), localIndices.size(),
                             remoteFound->second.handle, remoteIndices.data(), remoteIndices.size(), &request, args.get()),
            "creating a prepared transfer");
    post(options, request, args.get(), {}, {local, remote}, done);
  } catch (const std::exception& error) {
    done({nixl::describe(error), std::nullopt});
  }
}

void Agent::post(const TransferOptions& options, Request request, OptionalArgs args, std::set<uint32_t> registrations,
                 std::set<uint32_t> prepared, Done done) {
  Transfer transfer{options.id, request, options.deadline, std::move(registrations), std::move(prepared), std::move(done)};
  hold(transfer, 1);
  // It may have waited behind a long copy.
  if (Clock::now() >= transfer.deadline) return giveUp(transfer, late());
  const Status status = f_.post_xfer_req(handle_, request, args);
  if (status == kInProgress) {
    lastActive_ = Clock::now();
    transfers_.push_back(std::move(transfer));
  } else if (status == kSuccess) {
    settle(transfer, {});
  } else {
    settle(transfer, {nixl::describe(failed(status, "transferring")), std::nullopt});
  }
}

void Agent::hold(const Transfer& transfer, int change) {
  for (uint32_t id : transfer.registrations) registrations_.at(id).inFlight += static_cast<size_t>(change);
  for (uint32_t id : transfer.prepared) prepared_.at(id).inFlight += static_cast<size_t>(change);
}

bool Agent::released(Request request) {
  if (f_.release_xfer_req(handle_, request) != kSuccess) return false;
  f_.destroy_xfer_req(request);
  return true;
}

void Agent::settle(Transfer& transfer, Outcome outcome) {
  if (!outcome.failure && options_.telemetry) {
    TransferTelemetry telemetry{};
    if (f_.get_xfer_telemetry(handle_, transfer.request, &telemetry) == kSuccess) outcome.telemetry = telemetry;
  }
  lastActive_ = Clock::now();
  const Done done = std::move(transfer.done);
  if (released(transfer.request)) hold(transfer, -1);
  else lingering_.push_back(std::move(transfer));
  done(std::move(outcome));
}

void Agent::giveUp(Transfer& transfer, NixlError why) { settle(transfer, {nixl::describe(why), std::nullopt}); }

bool Agent::pollTransfers() {
  bool moved = false;
  const auto now = Clock::now();
  for (size_t i = 0; i < transfers_.size();) {
    const Status status = f_.get_xfer_status(handle_, transfers_[i].request);
    const bool overdue = status == kInProgress && now >= transfers_[i].deadline;
    if (status == kInProgress && !overdue) {
      ++i;
      continue;
    }
    Transfer transfer = std::move(transfers_[i]);
    transfers_.erase(transfers_.begin() + static_cast<std::ptrdiff_t>(i));
    moved = true;
    if (overdue) giveUp(transfer, late());
    else if (status == kSuccess) settle(transfer, {});
    else settle(transfer, {nixl::describe(failed(status, "transferring")), std::nullopt});
  }
  return moved;
}

bool Agent::pollLingering() {
  for (size_t i = 0; i < lingering_.size();) {
    if (!released(lingering_[i].request)) {
      ++i;
      continue;
    }
    hold(lingering_[i], -1);
    lingering_.erase(lingering_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return !lingering_.empty();
}

void Agent::cancel(uint64_t id) {
  for (size_t i = 0; i < transfers_.size(); ++i) {
    if (transfers_[i].id != id) continue;
    Transfer transfer = std::move(transfers_[i]);
    transfers_.erase(transfers_.begin() + static_cast<std::ptrdiff_t>(i));
    giveUp(transfer, NixlError("canceled", "NIXL_ERR_CANCELED", "", "The transfer was cancelled."));
    return;
  }
}

}  // namespace stator::nixl
