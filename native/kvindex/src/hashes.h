#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace stator {

static_assert(std::endian::native == std::endian::little, "columns of hashes are read as they lie in memory, little-endian");

// A column of 64-bit hashes, at any alignment.
struct Hashes {
  const uint8_t* bytes = nullptr;
  size_t count = 0;

  uint64_t operator[](size_t i) const {
    uint64_t hash;
    std::memcpy(&hash, bytes + i * sizeof(hash), sizeof(hash));
    return hash;
  }
};

}  // namespace stator
