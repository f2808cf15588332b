#include "copy.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "control.h"

namespace stator::hostmem {
namespace {

// Between two looks at the clock and the cancel flag, and what one thread takes at a time.
constexpr uint64_t kUnitBytes = 2u << 20;
// Linux takes at most 1024 pieces at once.
constexpr size_t kMaxVectors = 512;

struct Vectors {
  std::vector<iovec> local;
  std::vector<iovec> remote;
  uint64_t bytes = 0;

  void add(uint64_t here, uint64_t there, uint64_t length) {
    const bool joins = !local.empty() && reinterpret_cast<uint64_t>(local.back().iov_base) + local.back().iov_len == here &&
                       reinterpret_cast<uint64_t>(remote.back().iov_base) + remote.back().iov_len == there;
    bytes += length;
    if (joins) {
      local.back().iov_len += length;
      remote.back().iov_len += length;
      return;
    }
    local.push_back({reinterpret_cast<void*>(here), length});
    remote.push_back({reinterpret_cast<void*>(there), length});
  }
};

std::string moveVectors(pid_t pid, bool write, Vectors& vectors) {
  if (vectors.bytes == 0) return "";
  const auto call = write ? process_vm_writev : process_vm_readv;
  const ssize_t moved = call(pid, vectors.local.data(), vectors.local.size(), vectors.remote.data(), vectors.remote.size(), 0);
  const uint64_t wanted = vectors.bytes;
  vectors.local.clear();
  vectors.remote.clear();
  vectors.bytes = 0;
  if (moved == static_cast<ssize_t>(wanted)) return "";
  if (moved >= 0 || errno == EFAULT) return "revoked";
  if (errno == ESRCH) return "gone";
  if (errno == EPERM) return "denied";
  return "failed " + std::to_string(errno);
}

}  // namespace

std::shared_ptr<Lender> Lender::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return nullptr;
  Header header{};
  if (readHeader(fd, header)) return std::make_shared<Lender>(path, fd, static_cast<pid_t>(header.pid));
  close(fd);
  return nullptr;
}

Lender::~Lender() { close(fd_); }

LentCopy::LentCopy(std::shared_ptr<Lender> lender, bool write, std::chrono::steady_clock::time_point deadline, std::vector<Piece> pieces)
    : lender_(std::move(lender)), write_(write), deadline_(deadline), pieces_(std::move(pieces)) {
  uint64_t room = 0;
  for (size_t i = 0; i < pieces_.size(); ++i) {
    for (uint64_t done = 0; done < pieces_[i].bytes;) {
      if (room == 0) {
        starts_.push_back({i, done});
        room = kUnitBytes;
      }
      const uint64_t length = std::min(room, pieces_[i].bytes - done);
      done += length;
      room -= length;
    }
    bytes_ += pieces_[i].bytes;
  }
  if (starts_.empty()) starts_.push_back({0, 0});
}

LentCopy::~LentCopy() {
  if (writing_ >= 0) close(writing_);
}

void LentCopy::fail(const std::string& problem) {
  std::lock_guard lock(mutex_);
  if (problem_.empty()) problem_ = problem;
  failed_.store(true, std::memory_order_relaxed);
}

std::string LentCopy::problem() {
  std::lock_guard lock(mutex_);
  return problem_.empty() && canceled() ? "canceled" : problem_;
}

void LentCopy::begin() {
  if (write_) {
    writing_ = open(lender_->path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (writing_ < 0) return fail("gone");
    // Locks first, looks then; the owner revokes first and asks for locks then: one of both sees the other.
    for (const Piece& piece : pieces_) {
      if (locked_.contains(piece.slot)) continue;
      if (!lockWriter(writing_, piece.slot)) return fail("revoked");
      locked_.insert(piece.slot);
    }
    // Reading from a stranger whose number was the lender's does no harm: it is found out after.
    if (!ownerLives(lender_->fd())) return fail("gone");
  }
  std::map<uint64_t, Slot> slots;
  for (const Piece& piece : pieces_) {
    const auto [known, isNew] = slots.try_emplace(piece.slot);
    Slot& slot = known->second;
    if (isNew && !readSlot(lender_->fd(), piece.slot, slot)) return fail("gone");
    if (slot.id != piece.id || slot.id == 0) return fail("revoked");
    if (piece.offset > slot.bytes || piece.bytes > slot.bytes - piece.offset) return fail("outside");
    addresses_.push_back(slot.address + piece.offset);
  }
}

std::string LentCopy::verify() const {
  if (!ownerLives(lender_->fd())) return "gone";
  std::set<uint64_t> seen;
  const Piece* before = nullptr;
  for (const Piece& piece : pieces_) {
    const bool same = before != nullptr && before->slot == piece.slot;
    before = &piece;
    if (same || !seen.insert(piece.slot).second) continue;
    Slot slot{};
    if (!readSlot(lender_->fd(), piece.slot, slot)) return "gone";
    if (slot.id != piece.id) return "revoked";
  }
  return "";
}

std::string LentCopy::move(Place from, Place to) {
  Vectors vectors;
  for (size_t i = from.piece; i < pieces_.size() && (i < to.piece || (i == to.piece && to.done > 0)); ++i) {
    const uint64_t done = i == from.piece ? from.done : 0;
    const uint64_t end = i == to.piece ? to.done : pieces_[i].bytes;
    if (end > done) vectors.add(pieces_[i].local + done, addresses_[i] + done, end - done);
    if (vectors.local.size() < kMaxVectors) continue;
    if (const std::string problem = moveVectors(lender_->pid(), write_, vectors); !problem.empty()) return problem;
  }
  return moveVectors(lender_->pid(), write_, vectors);
}

void LentCopy::run(size_t unit) {
  std::call_once(begun_, [this] { begin(); });
  if (failed_.load(std::memory_order_relaxed)) return;
  if (std::chrono::steady_clock::now() >= deadline_) return fail("late");
  const Place end = unit + 1 < starts_.size() ? starts_[unit + 1] : Place{pieces_.size(), 0};
  if (const std::string problem = move(starts_[unit], end); !problem.empty()) fail(problem);
}

void LentCopy::end() {
  // A dead lender's number may belong to another process by now, and lent memory may have been taken back.
  const std::string problem = this->problem();
  if (problem.empty() || problem == "revoked" || problem == "denied") {
    const std::string after = verify();
    if (!after.empty()) {
      std::lock_guard lock(mutex_);
      problem_ = after;
    }
  }
  if (writing_ >= 0) close(writing_);  // ends its locks
  writing_ = -1;
  // Handles of it live as long as the collector lets them, and must not keep the lender's file open.
  lender_.reset();
}

}  // namespace stator::hostmem
