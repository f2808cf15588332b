#pragma once

#include <cstdint>

namespace stator::hostmem {

// The control file of a process that lends memory (lib/transfer/shm/control-file.ts writes it): a header, then slots.
// Whoever reads a slot before and after a copy knows whether the memory was lent all the while.
struct Header {
  uint64_t magic;
  uint64_t pid;
};

struct Slot {
  uint64_t id;  // 0: nothing is lent here
  uint64_t address;
  uint64_t bytes;
};

constexpr uint64_t kMagic = 0x31304d4854415453;  // "STATHM01"
constexpr uint64_t kHeaderBytes = 64;
constexpr uint64_t kSlotBytes = 24;

bool readHeader(int fd, Header& header);
bool readSlot(int fd, uint64_t index, Slot& slot);

// Locks of the open file description: the kernel drops them when their holder dies, whatever namespace it is in.
// The owner holds this for life; false if another does.
bool lockOwner(int fd);
bool ownerLives(int fd);
// A writer into memory of a slot holds this until it closes the file; false if the owner is just taking the slot back.
bool lockWriter(int fd, uint64_t slot);
// Whether nobody writes into memory of the slot now.
bool noWriter(int fd, uint64_t slot);

}  // namespace stator::hostmem
