#pragma once

#include <string>

namespace stator {

// Reads the whole header of a GGUF file (format 2 or 3) and checks that every length, type and tensor lies inside the
// file, because the library trusts some of them. Throws CodedError: `not_found`, `permission_denied` or
// `invalid_argument`, with the path and what is wrong.
void checkGguf(const std::string& path);

}  // namespace stator
