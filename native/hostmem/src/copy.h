#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "pool.h"

namespace stator::hostmem {

struct Piece {
  uint64_t slot;
  uint64_t id;
  uint64_t local;
  uint64_t offset;
  uint64_t bytes;
};

// A copy between this process's memory and that of the process whose control file is named. Its units may run beside each
// other; the lender is asked before the first and after the last.
class LentCopy : public Job {
 public:
  LentCopy(std::string controlFile, bool write, std::chrono::steady_clock::time_point deadline, std::vector<Piece> pieces);
  ~LentCopy() override;
  uint64_t bytes() const { return bytes_; }
  size_t units() const { return starts_.size(); }
  void run(size_t unit) override;
  void end() override;
  // '' or what went wrong: `gone` (the lender died), `revoked`, `outside`, `late`, `canceled`, `denied`, or `failed NUMBER`.
  std::string problem();

 private:
  struct Place {
    size_t piece;
    uint64_t done;
  };

  void begin();
  void fail(const std::string& problem);
  std::string verify() const;
  std::string move(Place from, Place to);

  const std::string controlFile_;
  const bool write_;
  const std::chrono::steady_clock::time_point deadline_;
  const std::vector<Piece> pieces_;
  uint64_t bytes_ = 0;
  std::vector<Place> starts_;
  std::once_flag begun_;
  int fd_ = -1;  // opened for this copy alone: locks belong to it
  pid_t pid_ = 0;
  std::vector<uint64_t> addresses_;  // of each piece over there
  std::set<uint64_t> locked_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string problem_;
};

}  // namespace stator::hostmem
