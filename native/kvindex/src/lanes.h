#pragma once

#include <cstddef>
#include <cstdint>

namespace stator {

// Writes `value` to lanes[i] for every set bit i of a mask of `words` 64-bit words. Vectorised where the processor can.
void fillLanes(uint32_t* lanes, const uint64_t* mask, size_t words, uint32_t value);

}  // namespace stator
