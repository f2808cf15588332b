#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hashes.h"
#include "owner_sets.h"
#include "tier.h"

namespace stator {

// Follows a prompt through one tier and writes, for each slot that starts out, how far it got.
class Matcher {
 public:
  explicit Matcher(const OwnerSets& sets) : sets_(sets) {}

  void resize(size_t slots) {
    words_ = (slots + 63) / 64;
    alive_.resize(words_);
    dropped_.resize(words_);
  }
  size_t words() const { return words_; }

  // Slots of `starting` start at block `start`; out[slot] becomes the number of blocks matched from there, except that
  // zeros are not written. Returns the block before which the last of them dropped out.
  size_t walk(const Tier& tier, Hashes prompt, size_t start, const uint64_t* starting, uint32_t* out);

 private:
  enum class Alive { kStarting, kMany, kOne, kNone };

  void narrow(Owner owner, size_t at);
  void narrowToSet(Owner set, size_t at);
  void narrowToOne(uint32_t slot, size_t at);
  void dropAll(size_t at);
  bool isAlive(uint32_t slot) const;

  const OwnerSets& sets_;
  size_t words_ = 0;
  std::vector<uint64_t> alive_;
  std::vector<uint64_t> dropped_;
  const uint64_t* starting_ = nullptr;
  uint32_t* out_ = nullptr;
  size_t start_ = 0;
  Alive state_ = Alive::kNone;
  uint32_t one_ = 0;
};

}  // namespace stator
