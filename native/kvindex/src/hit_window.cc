#include "hit_window.h"

namespace stator {

void HitWindow::remember(Hashes prompt, size_t matched) {
  if (window_.empty()) return;
  std::vector<uint64_t>& lookup = window_[next_];
  for (const uint64_t hash : lookup) {
    const auto found = counts_.find(hash);
    if (--found->second == 0) counts_.erase(found);
  }
  remembered_ -= lookup.size();
  lookup.clear();
  lookup.reserve(matched);
  for (size_t i = 0; i < matched; ++i) {
    lookup.push_back(prompt[i]);
    ++counts_[prompt[i]];
  }
  remembered_ += matched;
  next_ = (next_ + 1) % window_.size();
}

void HitWindow::count(Hashes prompt, uint32_t* counts) const {
  for (size_t i = 0; i < prompt.count; ++i) {
    const auto found = counts_.find(prompt[i]);
    counts[i] = found == counts_.end() ? 0 : found->second;
  }
}

size_t HitWindow::bytes() const {
  constexpr size_t kNode = 48;
  return window_.size() * sizeof(std::vector<uint64_t>) + remembered_ * sizeof(uint64_t) + counts_.size() * kNode;
}

}  // namespace stator
