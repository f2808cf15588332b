#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "hashes.h"

namespace stator {

// How many of the last lookups reached a block. Remembers the matched prefix of each; off with a window of 0.
class HitWindow {
 public:
  explicit HitWindow(uint32_t lookups) : window_(lookups) {}

  void remember(Hashes prompt, size_t matched);
  void count(Hashes prompt, uint32_t* counts) const;
  size_t bytes() const;

 private:
  std::vector<std::vector<uint64_t>> window_;
  size_t next_ = 0;
  size_t remembered_ = 0;
  std::unordered_map<uint64_t, uint32_t> counts_;
};

}  // namespace stator
