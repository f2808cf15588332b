#include "library.h"

#include <dlfcn.h>

#include "errors.h"

namespace stator::nixl {

std::shared_ptr<const Functions> loadLibrary(const std::string& path) {
  // RTLD_LOCAL: what NIXL brings along (OpenSSL, curl, gRPC) must not meet Node's own.
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* reason = dlerror();
    throw NixlError("library_missing", "", "library", std::string("NIXL cannot be loaded: ") + (reason ? reason : path));
  }
  auto functions = std::make_shared<Functions>();
#define STATOR_NIXL_RESOLVE(name, result, parameters)                                                   \
  functions->name = reinterpret_cast<result(*) parameters>(dlsym(handle, "nixl_capi_" #name));          \
  if (functions->name == nullptr)                                                                       \
    throw NixlError("library_unsuitable", "", "library", path + " has no nixl_capi_" #name "; NIXL 1.5 or newer is needed.");
  STATOR_NIXL_FUNCTIONS(STATOR_NIXL_RESOLVE)
#undef STATOR_NIXL_RESOLVE
  if (functions->is_stub()) throw NixlError("library_unsuitable", "", "library", path + " is NIXL's stub: it does nothing.");
  return functions;
}

}  // namespace stator::nixl
