#include "copy.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "control.h"

namespace stator::hostmem {
namespace {

// Between two looks at the clock and the cancel flag.
constexpr uint64_t kChunkBytes = 4u << 20;
// Linux takes at most 1024 pieces at once.
constexpr size_t kMaxVectors = 512;

struct Vectors {
  std::vector<iovec> local;
  std::vector<iovec> remote;
  uint64_t bytes = 0;

  void add(uint64_t here, uint64_t there, uint64_t length) {
    local.push_back({reinterpret_cast<void*>(here), length});
    remote.push_back({reinterpret_cast<void*>(there), length});
    bytes += length;
  }
  bool full() const { return local.size() == kMaxVectors || bytes >= kChunkBytes; }
};

std::string move(pid_t pid, bool write, Vectors& vectors) {
  if (vectors.bytes == 0) return "";
  const auto call = write ? process_vm_writev : process_vm_readv;
  const ssize_t moved = call(pid, vectors.local.data(), vectors.local.size(), vectors.remote.data(), vectors.remote.size(), 0);
  const uint64_t wanted = vectors.bytes;
  vectors = {};
  if (moved == static_cast<ssize_t>(wanted)) return "";
  if (moved >= 0 || errno == EFAULT) return "revoked";
  if (errno == ESRCH) return "gone";
  if (errno == EPERM) return "denied";
  return "failed " + std::to_string(errno);
}

std::string verify(int fd, const std::vector<Piece>& pieces) {
  if (!ownerLives(fd)) return "gone";
  uint64_t checked = UINT64_MAX;
  for (const Piece& piece : pieces) {
    if (piece.slot == checked) continue;
    Slot slot{};
    if (!readSlot(fd, piece.slot, slot)) return "gone";
    if (slot.id != piece.id) return "revoked";
    checked = piece.slot;
  }
  return "";
}

std::string moveAll(const Copy& copy, pid_t pid, const std::atomic<bool>& canceled) {
  Vectors vectors;
  const auto flush = [&]() -> std::string {
    if (canceled.load(std::memory_order_relaxed)) return "canceled";
    if (std::chrono::steady_clock::now() >= copy.deadline) return "late";
    return move(pid, copy.write, vectors);
  };
  for (const Piece& piece : copy.pieces) {
    Slot slot{};
    if (!readSlot(copy.fd, piece.slot, slot)) return "gone";
    if (slot.id != piece.id || slot.id == 0) return "revoked";
    if (piece.offset > slot.bytes || piece.bytes > slot.bytes - piece.offset) return "outside";
    for (uint64_t done = 0; done < piece.bytes;) {
      const uint64_t length = std::min(piece.bytes - done, kChunkBytes);
      vectors.add(piece.local + done, slot.address + piece.offset + done, length);
      done += length;
      if (!vectors.full()) continue;
      if (const std::string problem = flush(); !problem.empty()) return problem;
    }
  }
  return flush();
}

}  // namespace

std::string run(const Copy& copy, const std::atomic<bool>& canceled) {
  Header header{};
  if (!readHeader(copy.fd, header)) return "gone";
  std::set<uint64_t> locked;
  if (copy.write) {
    // Locks first, looks then; the owner revokes first and asks for locks then: one of both sees the other.
    for (const Piece& piece : copy.pieces) {
      if (locked.contains(piece.slot)) continue;
      if (!lockWriter(copy.fd, piece.slot)) return "revoked";
      locked.insert(piece.slot);
    }
  }
  std::string problem = verify(copy.fd, copy.pieces);
  if (problem.empty()) problem = moveAll(copy, static_cast<pid_t>(header.pid), canceled);
  // A dead lender's number may belong to another process by now, and lent memory may have been taken back.
  if (problem.empty() || problem == "revoked") {
    const std::string after = verify(copy.fd, copy.pieces);
    if (!after.empty()) problem = after;
  }
  for (uint64_t slot : locked) unlockWriter(copy.fd, slot);
  return problem;
}

}  // namespace stator::hostmem
