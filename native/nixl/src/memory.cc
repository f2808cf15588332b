#include <algorithm>

#include "agent.h"

namespace stator::nixl {

BackendHandle Agent::backendOf(uint32_t id) const {
  if (id == 0) return nullptr;
  const auto found = backends_.find(id);
  if (found == backends_.end()) throw notFound("backend", "This agent has no such back end.");
  return found->second;
}

std::vector<std::string> Agent::plugins() {
  StringList raw = nullptr;
  require(f_.get_available_plugins(handle_, &raw), "listing plugins");
  const Scoped<StringList> list(raw, f_.destroy_string_list);
  size_t size = 0;
  require(f_.string_list_size(raw, &size), "listing plugins");
  std::vector<std::string> names;
  for (size_t i = 0; i < size; ++i) {
    const char* name = nullptr;
    require(f_.string_list_get(raw, i, &name), "listing plugins");
    names.emplace_back(name);
  }
  return names;
}

void Agent::describe(MemoryList memories, Params params, BackendInfo& into) const {
  size_t size = 0;
  require(f_.mem_list_size(memories, &size), "reading memory types");
  for (size_t i = 0; i < size; ++i) {
    MemoryType type = kUnknownMemory;
    require(f_.mem_list_get(memories, i, &type), "reading memory types");
    into.memories.push_back(type);
  }
  bool empty = true;
  require(f_.params_is_empty(params, &empty), "reading parameters");
  if (empty) return;
  ParamIterator raw = nullptr;
  require(f_.params_create_iterator(params, &raw), "reading parameters");
  const Scoped<ParamIterator> iterator(raw, f_.params_destroy_iterator);
  for (bool more = true; more;) {
    const char* key = nullptr;
    const char* value = nullptr;
    require(f_.params_iterator_next(raw, &key, &value, &more), "reading parameters");
    if (key != nullptr && value != nullptr) into.parameters.emplace(key, value);
  }
}

BackendInfo Agent::pluginInfo(const std::string& plugin) {
  const std::vector<std::string> known = plugins();
  if (std::find(known.begin(), known.end(), plugin) == known.end()) throw notFound("plugin", "NIXL has no plugin " + plugin + ".");
  MemoryList memories = nullptr;
  Params params = nullptr;
  require(f_.get_plugin_params(handle_, plugin.c_str(), &memories, &params), "plugin " + plugin);
  const Scoped<MemoryList> ownMemories(memories, f_.destroy_mem_list);
  const Scoped<Params> ownParams(params, f_.destroy_params);
  BackendInfo info{0, {}, {}};
  describe(memories, params, info);
  return info;
}

BackendInfo Agent::createBackend(const std::string& plugin, const std::map<std::string, std::string>& parameters) {
  // Begins with the plugin's own defaults, which NIXL demands to be complete.
  std::map<std::string, std::string> merged = parameters;
  merged.merge(pluginInfo(plugin).parameters);
  Params raw = nullptr;
  require(f_.create_params(&raw), "creating parameters");
  const Scoped<Params> params(raw, f_.destroy_params);
  for (const auto& [key, value] : merged) require(f_.params_add(raw, key.c_str(), value.c_str()), "parameter " + key);
  BackendHandle handle = nullptr;
  require(f_.create_backend(handle_, plugin.c_str(), raw, &handle), "creating back end " + plugin);
  const uint32_t id = nextId_++;
  backends_.emplace(id, handle);
  MemoryList memories = nullptr;
  Params actual = nullptr;
  require(f_.get_backend_params(handle_, handle, &memories, &actual), "reading back end " + plugin);
  const Scoped<MemoryList> ownMemories(memories, f_.destroy_mem_list);
  const Scoped<Params> ownParams(actual, f_.destroy_params);
  BackendInfo info{id, {}, {}};
  describe(memories, actual, info);
  return info;
}

Scoped<RegistrationList> Agent::registrationList(const RangeList& list) const {
  RegistrationList raw = nullptr;
  require(f_.create_reg_dlist(list.type, &raw), "creating a list of memory");
  Scoped<RegistrationList> owned(raw, f_.destroy_reg_dlist);
  for (size_t i = 0; i < list.ranges.size(); ++i) {
    const Range& range = list.ranges[i];
    const std::string meta = i < list.meta.size() ? list.meta[i] : std::string();
    require(f_.reg_dlist_add_desc(raw, range.address, range.bytes, range.device, meta.data(), meta.size()), "describing memory");
  }
  return owned;
}

Scoped<TransferList> Agent::transferList(const RangeList& list) const {
  TransferList raw = nullptr;
  require(f_.create_xfer_dlist(list.type, &raw), "creating a list of ranges");
  Scoped<TransferList> owned(raw, f_.destroy_xfer_dlist);
  for (const Range& range : list.ranges) {
    require(f_.xfer_dlist_add_desc(raw, range.address, range.bytes, range.device), "describing a range");
  }
  return owned;
}

uint32_t Agent::registerMemory(const RangeList& list, uint32_t backend) {
  if (backends_.empty()) throw NixlError("not_ready", "NIXL_ERR_NOT_ALLOWED", "", "Create a back end before registering memory.");
  Scoped<RegistrationList> handle = registrationList(list);
  const auto args = optionalArgs(f_, backendOf(backend), nullptr);
  require(f_.register_mem(handle_, handle.get(), args.get()), "registering memory");
  const uint32_t id = nextId_++;
  registrations_.emplace(id, Registration{std::move(handle), list.type, list.ranges, backend});
  return id;
}

void Agent::deregisterMemory(uint32_t id) {
  const auto found = registrations_.find(id);
  if (found == registrations_.end()) throw notFound("registration", "This agent has no such registration.");
  Registration& registration = found->second;
  if (registration.inFlight > 0) throw inUse("A transfer still uses this memory.");
  const auto args = optionalArgs(f_, backendOf(registration.backend), nullptr);
  require(f_.deregister_mem(handle_, registration.list.get(), args.get()), "deregistering memory");
  registrations_.erase(found);
}

std::vector<bool> Agent::query(const RangeList& list, uint32_t backend) {
  const auto handle = registrationList(list);
  const auto args = optionalArgs(f_, backendOf(backend), nullptr);
  QueryResponses raw = nullptr;
  require(f_.create_query_resp_list(&raw), "creating a list of answers");
  const Scoped<QueryResponses> responses(raw, f_.destroy_query_resp_list);
  require(f_.query_mem(handle_, handle.get(), raw, args.get()), "querying memory");
  size_t size = 0;
  require(f_.query_resp_list_size(raw, &size), "querying memory");
  std::vector<bool> present(size);
  for (size_t i = 0; i < size; ++i) {
    bool has = false;
    require(f_.query_resp_list_has_value(raw, i, &has), "querying memory");
    present[i] = has;
  }
  return present;
}

// The registrations that hold the ranges. NIXL would only say that its back end failed.
std::set<uint32_t> Agent::covering(const RangeList& list, const std::string& field) const {
  const bool byDevice = list.type == kFile || list.type == kObject || list.type == kBlock;
  const auto holds = [&](const Registration& registration, const Range& range) {
    if (registration.type != list.type) return false;
    for (const Range& known : registration.ranges) {
      if (known.device != range.device) continue;
      // Files and objects may be registered without a length.
      if (byDevice && known.bytes == 0) return true;
      if (range.address >= known.address && range.bytes <= known.bytes && range.address - known.address <= known.bytes - range.bytes) return true;
    }
    return false;
  };
  std::set<uint32_t> used;
  auto last = registrations_.end();
  for (size_t i = 0; i < list.ranges.size(); ++i) {
    if (last != registrations_.end() && holds(last->second, list.ranges[i])) continue;
    last = registrations_.begin();
    while (last != registrations_.end() && !holds(last->second, list.ranges[i])) ++last;
    if (last == registrations_.end()) {
      const std::string place = field + "[" + std::to_string(i) + "]";
      throw notFound(place, place + " lies in no registered memory.");
    }
    used.insert(last->first);
  }
  return used;
}

uint32_t Agent::prepare(const std::string& owner, const RangeList& list, uint32_t backend) {
  std::set<uint32_t> used;
  if (owner.empty() || owner == options_.name) used = covering(list, "ranges");
  else requireRemote(owner);
  const auto handle = transferList(list);
  const auto args = optionalArgs(f_, backendOf(backend), nullptr);
  PreparedList prepared = nullptr;
  require(f_.prep_xfer_dlist(handle_, owner.c_str(), handle.get(), &prepared, args.get()), "preparing a list of ranges");
  std::vector<size_t> lengths;
  for (const Range& range : list.ranges) lengths.push_back(range.bytes);
  const uint32_t id = nextId_++;
  prepared_.emplace(id, Prepared{prepared, owner, std::move(lengths), used});
  // A prepared list keeps its memory registered.
  for (uint32_t each : used) ++registrations_.at(each).inFlight;
  return id;
}

void Agent::releasePrepared(uint32_t id) {
  const auto found = prepared_.find(id);
  if (found == prepared_.end()) throw notFound("prepared", "This agent has no such prepared list.");
  if (found->second.inFlight > 0) throw inUse("A transfer still uses this prepared list.");
  require(f_.release_xfer_dlist_handle(handle_, found->second.handle), "releasing a prepared list");
  for (uint32_t each : found->second.registrations) --registrations_.at(each).inFlight;
  prepared_.erase(found);
}

}  // namespace stator::nixl
