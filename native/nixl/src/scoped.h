#pragma once

#include <memory>
#include <utility>

#include "capi.h"
#include "errors.h"

namespace stator::nixl {

using Library = std::shared_ptr<const Functions>;

// Owns one object of the C ABI and destroys it with the function given.
template <typename Handle>
class Scoped {
 public:
  using Destroy = Status (*)(Handle);

  Scoped() = default;
  Scoped(Handle handle, Destroy destroy) : handle_(handle), destroy_(destroy) {}
  Scoped(Scoped&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)), destroy_(other.destroy_) {}
  Scoped& operator=(Scoped&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(destroy_, other.destroy_);
    return *this;
  }
  ~Scoped() {
    if (handle_ != nullptr) destroy_(handle_);
  }

  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
  Destroy destroy_ = nullptr;
};

// Optional arguments: the back end to use and the notification to send; null where there are none.
inline Scoped<OptionalArgs> optionalArgs(const Functions& f, BackendHandle backend, const std::string* notification) {
  if (backend == nullptr && notification == nullptr) return {};
  OptionalArgs raw = nullptr;
  require(f.create_opt_args(&raw), "creating optional arguments");
  Scoped<OptionalArgs> args(raw, f.destroy_opt_args);
  if (backend != nullptr) require(f.opt_args_add_backend(raw, backend), "naming a back end");
  if (notification != nullptr) {
    require(f.opt_args_set_notif_msg(raw, notification->data(), notification->size()), "attaching a notification");
    require(f.opt_args_set_has_notif(raw, true), "attaching a notification");
  }
  return args;
}

}  // namespace stator::nixl
