#pragma once

#include <cstddef>
#include <cstdint>

namespace stator::hostmem {

// XXH3-64, seed 0, fed in pieces; with the widest vectors that this CPU has.
class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void add(const void* bytes, size_t length);
  uint64_t value() const;

 private:
  void* const state_;
};

}  // namespace stator::hostmem
