#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
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

// A process that lends memory, by its control file.
class Lender {
 public:
  // Null where it is gone.
  static std::shared_ptr<Lender> open(const std::string& path);
  Lender(std::string path, int fd, pid_t pid) : path_(std::move(path)), fd_(fd), pid_(pid) {}
  ~Lender();
  Lender(const Lender&) = delete;
  Lender& operator=(const Lender&) = delete;
  const std::string& path() const { return path_; }
  int fd() const { return fd_; }
  pid_t pid() const { return pid_; }

 private:
  const std::string path_;
  const int fd_;
  const pid_t pid_;
};

// A copy between this process's memory and that of a lender. Its units may run beside each
// other; the lender is asked before the first and after the last.
class LentCopy : public Job {
 public:
  LentCopy(std::shared_ptr<Lender> lender, bool write, std::chrono::steady_clock::time_point deadline, std::vector<Piece> pieces);
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

  std::shared_ptr<Lender> lender_;
  const bool write_;
  const std::chrono::steady_clock::time_point deadline_;
  const std::vector<Piece> pieces_;
  uint64_t bytes_ = 0;
  std::vector<Place> starts_;
  std::once_flag begun_;
  int writing_ = -1;  // the control file, opened for this copy alone: locks belong to it
  std::vector<uint64_t> addresses_;  // of each piece over there
  std::set<uint64_t> locked_;
  std::atomic<bool> failed_{false};
  std::mutex mutex_;
  std::string problem_;
};

}  // namespace stator::hostmem
