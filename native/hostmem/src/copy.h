#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace stator::hostmem {

struct Piece {
  uint64_t slot;
  uint64_t id;
  uint64_t local;
  uint64_t offset;
  uint64_t bytes;
};

struct Copy {
  int fd;  // of the lender's control file, opened for this copy alone: locks belong to it
  bool write;
  std::chrono::steady_clock::time_point deadline;
  std::vector<Piece> pieces;
};

// Copies between this process's memory and the lender's. Returns '' or what went wrong: `gone` (the lender died),
// `revoked`, `outside`, `late`, `canceled`, `denied`, or `failed NUMBER`.
std::string run(const Copy& copy, const std::atomic<bool>& canceled);

}  // namespace stator::hostmem
