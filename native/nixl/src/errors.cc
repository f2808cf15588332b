#include "errors.h"

namespace stator::nixl {

NixlError failed(Status status, const std::string& what) {
  switch (status) {
    case kInvalidParam:
      return {"invalid_argument", "NIXL_ERR_INVALID_PARAM", "", what + ": NIXL refused an argument."};
    case kInvalidState:
      return {"internal", "NIXL_ERR_NOT_ALLOWED", "", what + ": NIXL is in a state that does not allow it."};
    case kException:
      return {"internal", "NIXL_ERR_UNKNOWN", "", what + ": NIXL threw an exception."};
    case kNoTelemetry:
      return {"no_telemetry", "NIXL_ERR_NO_TELEMETRY", "", what + ": telemetry is off for this agent."};
    case kNotFound:
      return {"not_found", "NIXL_ERR_NOT_FOUND", "", what + ": NIXL knows no such agent, memory or plugin."};
    default:
      return {"backend_failed", "NIXL_ERR_BACKEND", "",
              what + ": NIXL's back end failed; its log on stderr (NIXL_LOG_LEVEL) says why."};
  }
}

}  // namespace stator::nixl
