#include "control.h"

#include <fcntl.h>
#include <unistd.h>

namespace stator::hostmem {
namespace {

// Places beyond the file's content, which are never read or written.
constexpr off_t kOwnerByte = off_t{1} << 40;
constexpr off_t kWriterBytes = off_t{1} << 41;

struct flock range(short type, off_t start) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = 1;
  return lock;
}

bool set(int fd, short type, off_t start) {
  struct flock lock = range(type, start);
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool held(int fd, off_t start) {
  struct flock lock = range(F_WRLCK, start);
  return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

off_t writerByte(uint64_t slot) { return kWriterBytes + static_cast<off_t>(slot); }

}  // namespace

bool readHeader(int fd, Header& header) {
  return pread(fd, &header, sizeof header, 0) == static_cast<ssize_t>(sizeof header) && header.magic == kMagic;
}

bool readSlot(int fd, uint64_t index, Slot& slot) {
  const auto offset = static_cast<off_t>(kHeaderBytes + index * kSlotBytes);
  return pread(fd, &slot, sizeof slot, offset) == static_cast<ssize_t>(sizeof slot);
}

bool lockOwner(int fd) { return set(fd, F_WRLCK, kOwnerByte); }
bool ownerLives(int fd) { return held(fd, kOwnerByte); }
// Shared, so that several may write; the owner asks for an exclusive one.
bool lockWriter(int fd, uint64_t slot) { return set(fd, F_RDLCK, writerByte(slot)); }
bool noWriter(int fd, uint64_t slot) { return !held(fd, writerByte(slot)); }

}  // namespace stator::hostmem
