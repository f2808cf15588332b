#include "bulk.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "checksum.h"

namespace stator::hostmem {
namespace {

constexpr uint64_t kUnitBytes = 1u << 20;
// Between two looks at the cancel flag.
constexpr uint64_t kStepBytes = 1u << 20;
// What is hashed after it was copied is still in the core's cache then.
constexpr uint64_t kPassBytes = 32u << 10;
constexpr uint64_t kPopulateBytes = 16u << 20;
constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, which older headers lack

// Halves of large copies may go to different threads.
std::vector<Range> split(std::vector<Range> ranges) {
  std::vector<Range> parts;
  for (const Range& range : ranges)
    for (uint64_t done = 0; done < range.bytes; done += kUnitBytes)
      parts.push_back({range.from + done, range.to + done, std::min(kUnitBytes, range.bytes - done)});
  return parts;
}

}  // namespace

BulkJob::BulkJob(Bulk kind, std::vector<Range> ranges)
    : kind_(kind), ranges_(kind == Bulk::kCopy ? split(std::move(ranges)) : std::move(ranges)) {
  if (kind != Bulk::kCopy) checksums_.resize(ranges_.size());
  uint64_t inUnit = kUnitBytes;
  for (size_t i = 0; i < ranges_.size(); ++i) {
    if (inUnit >= kUnitBytes) {
      starts_.push_back(i);
      inUnit = 0;
    }
    inUnit += ranges_[i].bytes;
    bytes_ += ranges_[i].bytes;
  }
}

void BulkJob::run(size_t unit) {
  if (starts_.empty()) return;
  const size_t end = unit + 1 < starts_.size() ? starts_[unit + 1] : ranges_.size();
  for (size_t i = starts_[unit]; i < end && !canceled(); ++i) one(i);
}

void BulkJob::one(size_t index) {
  const Range& range = ranges_[index];
  if (kind_ == Bulk::kCopy) {
    std::memmove(range.to, range.from, range.bytes);
    advance(range.bytes);
    return;
  }
  Checksum checksum;
  const uint64_t pass = kind_ == Bulk::kChecksum ? kStepBytes : kPassBytes;
  for (uint64_t done = 0; done < range.bytes && !canceled(); done += pass) {
    const uint64_t length = std::min(pass, range.bytes - done);
    const uint8_t* bytes = range.from + done;
    if (kind_ == Bulk::kCopyAndChecksum) {
      // The checksum is of what arrived, whatever becomes of the source meanwhile.
      std::memcpy(range.to + done, bytes, length);
      bytes = range.to + done;
    }
    checksum.add(bytes, length);
    advance(length);
  }
  checksums_[index] = checksum.value();
}

size_t PopulateJob::units() const { return static_cast<size_t>((bytes_ + kPopulateBytes - 1) / kPopulateBytes); }

void PopulateJob::run(size_t unit) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto first = (reinterpret_cast<uintptr_t>(start_) + unit * kPopulateBytes) & ~(page - 1);
  const auto last = reinterpret_cast<uintptr_t>(start_) + std::min(bytes_, (unit + 1) * kPopulateBytes);
  if (madvise(reinterpret_cast<void*>(first), last - first, kPopulateWrite) != 0) {
    if (errno != EINVAL) {
      problem_.store(errno);
      cancel();
      return;
    }
    // Linux before 5.14. Another process may write the same word at the same time.
    for (uintptr_t place = std::max(first, reinterpret_cast<uintptr_t>(start_)); place < last; place = (place | (page - 1)) + 1)
      std::atomic_ref<uint8_t>(*reinterpret_cast<uint8_t*>(place)).fetch_or(0);
  }
  advance(std::min(bytes_ - unit * kPopulateBytes, kPopulateBytes));
}

}  // namespace stator::hostmem
