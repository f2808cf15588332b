#include "checksum.h"

#include <new>

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

namespace stator::hostmem {

Checksum::Checksum() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}

Checksum::~Checksum() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void Checksum::add(const void* bytes, size_t length) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), bytes, length);
}

uint64_t Checksum::value() const { return XXH3_64bits_digest(static_cast<XXH3_state_t*>(state_)); }

}  // namespace stator::hostmem
