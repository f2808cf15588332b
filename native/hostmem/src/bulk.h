#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "pool.h"

namespace stator::hostmem {

enum class Bulk : uint32_t { kCopy = 0, kChecksum = 1, kCopyAndChecksum = 2 };

struct Range {
  const uint8_t* from;
  uint8_t* to;  // null for checksums alone
  uint64_t bytes;
};

// Copies or hashes ranges, in units of about a megabyte; a range that is hashed is never split.
class BulkJob : public Job {
 public:
  BulkJob(Bulk kind, std::vector<Range> ranges);
  size_t units() const { return std::max<size_t>(1, starts_.size()); }
  uint64_t bytes() const { return bytes_; }
  void run(size_t unit) override;
  const std::vector<uint64_t>& checksums() const { return checksums_; }

 private:
  void one(size_t range);
  const Bulk kind_;
  std::vector<Range> ranges_;
  uint64_t bytes_ = 0;
  std::vector<size_t> starts_;  // first range of each unit
  std::vector<uint64_t> checksums_;
};

// Gives memory its pages before they are needed.
class PopulateJob : public Job {
 public:
  PopulateJob(uint8_t* start, uint64_t bytes) : start_(start), bytes_(bytes) {}
  size_t units() const;
  void run(size_t unit) override;
  // errno of the first failure, or 0.
  int problem() const { return problem_.load(); }

 private:
  uint8_t* const start_;
  const uint64_t bytes_;
  std::atomic<int> problem_{0};
};

}  // namespace stator::hostmem
