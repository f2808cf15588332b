#include "abort_guard.h"

#include <ggml.h>

#include <cstdio>
#include <mutex>
#include <stdexcept>

namespace stator {

int32_t& AbortGuard::depth() {
  thread_local int32_t depth = 0;
  return depth;
}

void AbortGuard::install() {
  static std::once_flag once;
  std::call_once(once, [] {
    ggml_set_abort_callback([](const char* message) {
      // ggml is C, but compiled with unwind tables; a frame of it that is left this way loses memory at most.
      if (depth() > 0) throw std::runtime_error(message);
      std::fprintf(stderr, "%s\n", message);
    });
  });
}

}  // namespace stator
