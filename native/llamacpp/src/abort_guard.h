#pragma once

#include <cstdint>

namespace stator {

// While one lives on a thread, an assertion of ggml that fails there throws std::runtime_error instead of ending the
// process. Damaged files fail assertions while they load; llama.cpp's own loader turns exceptions into errors.
class AbortGuard {
 public:
  AbortGuard() { ++depth(); }
  ~AbortGuard() { --depth(); }
  AbortGuard(const AbortGuard&) = delete;
  AbortGuard& operator=(const AbortGuard&) = delete;

  // Once a process.
  static void install();

 private:
  static int32_t& depth();
};

}  // namespace stator
