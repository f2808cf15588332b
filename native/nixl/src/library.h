#pragma once

#include <memory>
#include <string>

#include "capi.h"

namespace stator::nixl {

// Loads libnixl_capi.so from a path or, for a bare name, as the loader finds it. Throws NixlError `library_missing` where
// there is none and `library_unsuitable` where it lacks a function or is NIXL's stub.
std::shared_ptr<const Functions> loadLibrary(const std::string& path);

}  // namespace stator::nixl
