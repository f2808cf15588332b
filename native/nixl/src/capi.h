#pragma once

// Our own declarations of the C ABI of NIXL (libnixl_capi.so, release 1.5), so that nothing of it is needed to compile.
// native/nixl/capi.test.ts compares every structure and signature with the header that the crate nixl-sys publishes.

#include <cstddef>
#include <cstdint>

namespace stator::nixl {

// What C functions return. The C ABI folds several causes into kBackend; see status.h for the names we report.
enum Status : int {
  kInProgress = 1,
  kSuccess = 0,
  kInvalidParam = -1,
  kBackend = -2,
  kInvalidState = -3,
  kException = -4,
  kNoTelemetry = -5,
  kNotFound = -6,
};

enum MemoryType : int { kDram = 0, kVram = 1, kBlock = 2, kObject = 3, kFile = 4, kUnknownMemory = 5 };
enum ThreadSync : int { kSyncNone = 0, kSyncStrict = 1, kSyncReadWrite = 2 };
enum Operation : int { kRead = 0, kWrite = 1 };

struct AgentConfig {
  bool progressThread;
  bool listenThread;
  int listenPort;
  ThreadSync threadSync;
  unsigned int workers;
  uint64_t progressDelayUs;
  uint64_t listenDelayUs;
  bool telemetry;
};

struct TransferTelemetry {
  uint64_t startUs;
  uint64_t postUs;
  uint64_t transferUs;
  uint64_t bytes;
  uint64_t descriptors;
};

// Opaque on both sides; distinct types so that the compiler tells them apart.
using AgentHandle = struct AgentOpaque*;
using Params = struct ParamsOpaque*;
using MemoryList = struct MemoryListOpaque*;
using StringList = struct StringListOpaque*;
using BackendHandle = struct BackendOpaque*;
using OptionalArgs = struct OptionalArgsOpaque*;
using ParamIterator = struct ParamIteratorOpaque*;
using TransferList = struct TransferListOpaque*;
using PreparedList = struct PreparedListOpaque*;
using RegistrationList = struct RegistrationListOpaque*;
using Request = struct RequestOpaque*;
using NotificationMap = struct NotificationMapOpaque*;
using QueryResponses = struct QueryResponsesOpaque*;

// X(name without prefix, result, parameters)
#define STATOR_NIXL_FUNCTIONS(X)                                                                                       \
  X(create_configured_agent, Status, (const char* name, const AgentConfig* config, AgentHandle* agent))                \
  X(destroy_agent, Status, (AgentHandle agent))                                                                        \
  X(get_local_md, Status, (AgentHandle agent, void** data, size_t* length))                                            \
  X(load_remote_md, Status, (AgentHandle agent, const void* data, size_t length, char** name))                         \
  X(invalidate_remote_md, Status, (AgentHandle agent, const char* remote))                                             \
  X(check_remote_md, Status, (AgentHandle agent, const char* remote, TransferList list))                               \
  X(get_available_plugins, Status, (AgentHandle agent, StringList* plugins))                                           \
  X(destroy_string_list, Status, (StringList list))                                                                    \
  X(string_list_size, Status, (StringList list, size_t* size))                                                         \
  X(string_list_get, Status, (StringList list, size_t index, const char** text))                                       \
  X(get_plugin_params, Status, (AgentHandle agent, const char* plugin, MemoryList* memories, Params* params))          \
  X(destroy_mem_list, Status, (MemoryList list))                                                                       \
  X(mem_list_size, Status, (MemoryList list, size_t* size))                                                            \
  X(mem_list_get, Status, (MemoryList list, size_t index, MemoryType* type))                                           \
  X(create_params, Status, (Params* params))                                                                           \
  X(destroy_params, Status, (Params params))                                                                           \
  X(params_add, Status, (Params params, const char* key, const char* value))                                           \
  X(params_is_empty, Status, (Params params, bool* empty))                                                             \
  X(params_create_iterator, Status, (Params params, ParamIterator* iterator))                                          \
  X(params_iterator_next, Status, (ParamIterator iterator, const char** key, const char** value, bool* more))          \
  X(params_destroy_iterator, Status, (ParamIterator iterator))                                                         \
  X(create_backend, Status, (AgentHandle agent, const char* plugin, Params params, BackendHandle* backend))            \
  X(destroy_backend, Status, (BackendHandle backend))                                                                  \
  X(get_backend_params, Status, (AgentHandle agent, BackendHandle backend, MemoryList* memories, Params* params))      \
  X(create_opt_args, Status, (OptionalArgs* args))                                                                     \
  X(destroy_opt_args, Status, (OptionalArgs args))                                                                     \
  X(opt_args_add_backend, Status, (OptionalArgs args, BackendHandle backend))                                          \
  X(opt_args_set_notif_msg, Status, (OptionalArgs args, const void* data, size_t length))                              \
  X(opt_args_set_has_notif, Status, (OptionalArgs args, bool has))                                                     \
  X(create_reg_dlist, Status, (MemoryType type, RegistrationList* list))                                               \
  X(destroy_reg_dlist, Status, (RegistrationList list))                                                                \
  X(reg_dlist_add_desc, Status,                                                                                        \
    (RegistrationList list, uintptr_t address, size_t length, uint64_t device, const void* meta, size_t metaLength))   \
  X(register_mem, Status, (AgentHandle agent, RegistrationList list, OptionalArgs args))                               \
  X(deregister_mem, Status, (AgentHandle agent, RegistrationList list, OptionalArgs args))                             \
  X(query_mem, Status, (AgentHandle agent, RegistrationList list, QueryResponses responses, OptionalArgs args))        \
  X(create_query_resp_list, Status, (QueryResponses* responses))                                                       \
  X(destroy_query_resp_list, Status, (QueryResponses responses))                                                       \
  X(query_resp_list_size, Status, (QueryResponses responses, size_t* size))                                            \
  X(query_resp_list_has_value, Status, (QueryResponses responses, size_t index, bool* has))                            \
  X(agent_make_connection, Status, (AgentHandle agent, const char* remote, OptionalArgs args))                         \
  X(create_xfer_dlist, Status, (MemoryType type, TransferList* list))                                                  \
  X(destroy_xfer_dlist, Status, (TransferList list))                                                                   \
  X(xfer_dlist_add_desc, Status, (TransferList list, uintptr_t address, size_t length, uint64_t device))               \
  X(prep_xfer_dlist, Status,                                                                                           \
    (AgentHandle agent, const char* owner, TransferList list, PreparedList* prepared, OptionalArgs args))              \
  X(release_xfer_dlist_handle, Status, (AgentHandle agent, PreparedList prepared))                                     \
  X(make_xfer_req, Status,                                                                                             \
    (AgentHandle agent, Operation operation, PreparedList local, const int* localIndices, size_t localCount,           \
     PreparedList remote, const int* remoteIndices, size_t remoteCount, Request* request, OptionalArgs args))          \
  X(create_xfer_req, Status,                                                                                           \
    (AgentHandle agent, Operation operation, TransferList local, TransferList remote, const char* owner,               \
     Request* request, OptionalArgs args))                                                                             \
  X(post_xfer_req, Status, (AgentHandle agent, Request request, OptionalArgs args))                                    \
  X(get_xfer_status, Status, (AgentHandle agent, Request request))                                                     \
  X(get_xfer_telemetry, Status, (AgentHandle agent, Request request, TransferTelemetry* telemetry))                    \
  X(release_xfer_req, Status, (AgentHandle agent, Request request))                                                    \
  X(destroy_xfer_req, Status, (Request request))                                                                       \
  X(gen_notif, Status, (AgentHandle agent, const char* remote, const void* data, size_t length, OptionalArgs args))    \
  X(create_notif_map, Status, (NotificationMap* map))                                                                  \
  X(destroy_notif_map, Status, (NotificationMap map))                                                                  \
  X(get_notifs, Status, (AgentHandle agent, NotificationMap map, OptionalArgs args))                                   \
  X(notif_map_size, Status, (NotificationMap map, size_t* size))                                                       \
  X(notif_map_get_agent_at, Status, (NotificationMap map, size_t index, const char** agent))                           \
  X(notif_map_get_notifs_size, Status, (NotificationMap map, const char* agent, size_t* size))                         \
  X(notif_map_get_notif, Status,                                                                                       \
    (NotificationMap map, const char* agent, size_t index, const void** data, size_t* length))                         \
  X(notif_map_clear, Status, (NotificationMap map))                                                                    \
  X(is_stub, bool, ())

// The loaded library. It is never unloaded: its threads and exit handlers would lose their code.
struct Functions {
#define STATOR_NIXL_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
  STATOR_NIXL_FUNCTIONS(STATOR_NIXL_MEMBER)
#undef STATOR_NIXL_MEMBER
};

}  // namespace stator::nixl
