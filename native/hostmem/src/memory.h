#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace stator::hostmem {

// Memory mapped by this addon. It is unmapped when the last holder lets go: the buffer that JavaScript sees is one, each
// operation that runs on it another, so that closing a buffer under an operation is harmless.
struct Mapping {
  Mapping(void* reserved, size_t reservedBytes, uint8_t* data, size_t bytes)
      : reserved(reserved), reservedBytes(reservedBytes), data(data), bytes(bytes) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  void* const reserved;
  const size_t reservedBytes;
  uint8_t* const data;
  const size_t bytes;
  // Called once it is unmapped, on any thread.
  std::function<void()> unmapped;
};

using MappingRef = std::shared_ptr<Mapping>;

// Memory of its own on a 2 MiB boundary, of huge pages where the system has them. Null where there is none.
MappingRef mapAnonymous(size_t bytes);

struct OpenRequest {
  std::string path;
  uint64_t bytes;  // 0: as large as the file is
  bool create;
};

struct Opened {
  // '', or why not: `missing`, `symlink`, `foreign`, `mode`, `kind`, `size BYTES`, `full`, `canceled`, `failed STEP ERRNO`.
  std::string problem;
  MappingRef mapping;
  bool created = false;
  uint64_t pageBytes = 0;
};

// Maps a file that this user alone may open, and gives it all of its memory. It appears under its name only when complete.
Opened openShared(const OpenRequest& request, const std::atomic<bool>& canceled, std::atomic<uint64_t>& progress);

// Makes a mapping known as what a JavaScript buffer shows, until forget().
void own(const MappingRef& mapping);
// The mapping of a buffer that is owned; null for memory of others.
MappingRef holdOf(const void* address);
// Idempotent; the mapping may be gone already.
void forget(const Mapping* mapping);

}  // namespace stator::hostmem
