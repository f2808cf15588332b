#pragma once

#include <cstddef>
#include <cstdint>

namespace stator {

// XXH3-64, with the widest instructions that this processor has: blocks are hashed on the engine's thread.
uint64_t checksum(const void* bytes, size_t count, uint64_t seed);

}  // namespace stator
