#include "kv_cache.h"

#include <algorithm>

namespace stator {
namespace {

constexpr llama_seq_id kMaxSequenceIds = 256;

}  // namespace

KvCache::KvCache(llama_memory_t memory, KvCacheOptions options) : memory_(memory), options_(options), laneBlocks_(kMaxSequenceIds) {}

uint32_t KvCache::activeBlocks() const {
  const uint32_t shared = static_cast<uint32_t>(blocks_.size()) - idleBlocks_;
  return shared + (privateCells_ + options_.blockSize - 1) / options_.blockSize;
}

uint32_t KvCache::attach(SequenceKv& kv, std::span<const llama_token> tokens, const std::string& scope, const BlockHasher& hasher) {
  kv.shareable = options_.enabled;
  if (!options_.enabled || tokens.empty()) return 0;
  const uint32_t size = options_.blockSize;
  const size_t most = (tokens.size() - 1) / size;
  hash(kv, tokens, most, hasher);
  KvBlock* parent = nullptr;
  for (uint32_t i = 0; i < most; ++i) {
    KvBlock* block = find(kv.sequence[i], parent, tokens.subspan(size_t{i} * size, size), scope);
    if (block == nullptr) break;
    use(block);
    kv.path.push_back(block);
    parent = block;
  }
  // Neighbouring blocks of one lane are shared by one call, because each call looks at every cell.
  for (size_t first = 0; first < kv.path.size();) {
    size_t end = first + 1;
    while (end < kv.path.size() && kv.path[end]->lane == kv.path[first]->lane) ++end;
    llama_memory_seq_cp(memory_, kv.path[first]->lane, kv.slot, begin(static_cast<uint32_t>(first)), begin(static_cast<uint32_t>(end)));
    first = end;
  }
  return static_cast<uint32_t>(kv.path.size()) * size;
}

void KvCache::extend(SequenceKv& kv, std::span<const llama_token> computed, uint32_t added, const std::string& scope, const BlockHasher& hasher) {
  kv.privateCells += added;
  privateCells_ += added;
  if (!options_.enabled) return;
  const uint32_t size = options_.blockSize;
  while (kv.shareable && (kv.path.size() + 1) * size <= computed.size()) {
    const auto index = static_cast<uint32_t>(kv.path.size());
    const auto tokens = computed.subspan(size_t{index} * size, size);
    hash(kv, computed, index + 1, hasher);
    kv.shareable = append(kv, index, tokens, scope);
  }
}

// Extends the sequence's hashes to its first `blocks` blocks.
void KvCache::hash(SequenceKv& kv, std::span<const llama_token> tokens, size_t blocks, const BlockHasher& hasher) const {
  static_assert(sizeof(llama_token) == sizeof(uint32_t));
  for (size_t i = kv.sequence.size(); i < blocks; ++i) {
    const auto* block = reinterpret_cast<const uint32_t*>(tokens.data()) + i * options_.blockSize;
    const uint64_t local = hasher.local(block, options_.blockSize);
    kv.sequence.push_back(i == 0 ? local : sequenceHash(kv.sequence.back(), local));
    kv.local.push_back(local);
  }
}

// Caches the sequence's block at `index`, or lets it use the equal block that another sequence cached meanwhile.
bool KvCache::append(SequenceKv& kv, uint32_t index, std::span<const llama_token> tokens, const std::string& scope) {
  KvBlock* parent = kv.path.empty() ? nullptr : kv.path.back();
  const uint64_t hash = kv.sequence[index];
  const llama_pos from = begin(index);
  const llama_pos to = begin(index + 1);
  KvBlock* block = nullptr;
  if (blocks_.contains(hash)) {
    block = find(hash, parent, tokens, scope);
    if (block == nullptr) return false;  // a collision
    use(block);
    llama_memory_seq_rm(memory_, kv.slot, from, to);
    llama_memory_seq_cp(memory_, block->lane, kv.slot, from, to);
  } else {
    const auto lane = takeLane(index, parent == nullptr ? std::nullopt : std::optional(parent->lane), parent);
    if (!lane) return false;
    auto owned = std::make_unique<KvBlock>();
    block = owned.get();
    *block = {hash, kv.local[index], parent, index, *lane, 0, 1, 0, ++clock_, scope, {tokens.begin(), tokens.end()}};
    blocks_.emplace(hash, std::move(owned));
    if (parent != nullptr) ++parent->children;
    llama_memory_seq_cp(memory_, kv.slot, *lane, from, to);
    changes_.stored(parent == nullptr ? std::nullopt : std::optional(parent->sequenceHash), index, hash, block->localHash);
  }
  kv.path.push_back(block);
  kv.privateCells -= options_.blockSize;
  privateCells_ -= options_.blockSize;
  return true;
}

void KvCache::detach(SequenceKv& kv) {
  llama_memory_seq_rm(memory_, kv.slot, -1, -1);
  privateCells_ -= kv.privateCells;
  kv.privateCells = 0;
  for (auto it = kv.path.rbegin(); it != kv.path.rend(); ++it) unuse(*it);
  kv.path.clear();
}

bool KvCache::reserve(uint32_t cells) {
  while (freeCells() < cells) {
    if (evictable_.empty()) return false;
    evict(evictable_.begin()->second);
  }
  return true;
}

uint64_t KvCache::clear(const std::string& scopePrefix) {
  std::vector<KvBlock*> roots;
  for (const auto& [hash, block] : blocks_) {
    const bool top = block->users == 0 && (block->parent == nullptr || block->parent->users > 0);
    if (top && block->scope.starts_with(scopePrefix)) roots.push_back(block.get());
  }
  const size_t before = blocks_.size();
  for (KvBlock* root : roots) evictTree(root);
  return before - blocks_.size();
}

std::vector<KvChange> KvCache::snapshot() const {
  std::vector<const KvBlock*> ordered;
  for (const auto& [hash, block] : blocks_) ordered.push_back(block.get());
  std::sort(ordered.begin(), ordered.end(), [](const KvBlock* a, const KvBlock* b) {
    return a->index != b->index ? a->index < b->index : a->sequenceHash < b->sequenceHash;
  });
  KvChanges changes;
  for (const KvBlock* block : ordered) {
    changes.stored(block->parent == nullptr ? std::nullopt : std::optional(block->parent->sequenceHash), block->index, block->sequenceHash, block->localHash);
  }
  return changes.take();
}

std::vector<KvBlock*> KvCache::find(std::span<const llama_token> tokens, std::span<const uint64_t> hashes, const std::string& scope) const {
  std::vector<KvBlock*> path;
  for (size_t i = 0; options_.enabled && i < hashes.size(); ++i) {
    KvBlock* block = find(hashes[i], path.empty() ? nullptr : path.back(), tokens.subspan(i * options_.blockSize, options_.blockSize), scope);
    if (block == nullptr) break;
    path.push_back(block);
  }
  return path;
}

void KvCache::lendToScratch(std::span<KvBlock* const> blocks) {
  scratchUsed_ = true;
  for (size_t first = 0; first < blocks.size();) {
    size_t end = first + 1;
    while (end < blocks.size() && blocks[end]->lane == blocks[first]->lane) ++end;
    llama_memory_seq_cp(memory_, blocks[first]->lane, scratch(), begin(blocks[first]->index), begin(blocks[end - 1]->index + 1));
    first = end;
  }
}

void KvCache::clearScratch() {
  if (scratchUsed_) llama_memory_seq_rm(memory_, scratch(), -1, -1);
  scratchUsed_ = false;
}

std::vector<PendingBlock> KvCache::adoptScratch(uint32_t index, uint32_t count, std::optional<llama_seq_id> preferred) {
  std::vector<PendingBlock> taken;
  while (taken.size() < count) {
    const auto next = index + static_cast<uint32_t>(taken.size());
    preferred = takeLane(next, preferred, nullptr);
    if (!preferred) {
      for (const PendingBlock& each : taken) freeLane(each.lane, each.index);
      return {};
    }
    taken.push_back({next, *preferred});
  }
  for (size_t first = 0; first < taken.size();) {
    size_t end = first + 1;
    while (end < taken.size() && taken[end].lane == taken[first].lane) ++end;
    llama_memory_seq_cp(memory_, scratch(), taken[first].lane, begin(taken[first].index), begin(taken[end - 1].index + 1));
    first = end;
  }
  privateCells_ += count * options_.blockSize;
  return taken;
}

void KvCache::drop(const PendingBlock& pending) {
  llama_memory_seq_rm(memory_, pending.lane, begin(pending.index), begin(pending.index + 1));
  freeLane(pending.lane, pending.index);
  privateCells_ -= options_.blockSize;
}

KvBlock* KvCache::commit(const PendingBlock& pending, KvBlock* parent, uint64_t hash, uint64_t local, std::span<const llama_token> tokens, const std::string& scope) {
  if (blocks_.contains(hash)) {
    drop(pending);
    KvBlock* same = find(hash, parent, tokens, scope);
    if (same != nullptr) hold(same);
    return same;
  }
  auto owned = std::make_unique<KvBlock>();
  KvBlock* block = owned.get();
  *block = {hash, local, parent, pending.index, pending.lane, 0, 1, 1, ++clock_, scope, {tokens.begin(), tokens.end()}};
  blocks_.emplace(hash, std::move(owned));
  if (parent != nullptr) ++parent->children;
  privateCells_ -= options_.blockSize;
  ++heldBlocks_;
  changes_.stored(parent == nullptr ? std::nullopt : std::optional(parent->sequenceHash), pending.index, hash, local);
  return block;
}

KvBlock* KvCache::find(uint64_t hash, const KvBlock* parent, std::span<const llama_token> tokens, const std::string& scope) const {
  const auto found = blocks_.find(hash);
  if (found == blocks_.end()) return nullptr;
  KvBlock* block = found->second.get();
  const bool same = block->parent == parent && block->scope == scope && std::equal(tokens.begin(), tokens.end(), block->tokens.begin(), block->tokens.end());
  return same ? block : nullptr;
}

// A lane that is free at the block's position: the one before, so that prefixes stay in one lane, or any.
std::optional<llama_seq_id> KvCache::takeLane(uint32_t index, std::optional<llama_seq_id> preferred, const KvBlock* parent) {
  if (lanesAt_.size() <= index) lanesAt_.resize(index + 1);
  const auto take = [&](llama_seq_id lane) {
    lanesAt_[index].set(static_cast<size_t>(lane));
    laneBlocks_[static_cast<size_t>(lane)].insert(index);
    return lane;
  };
  if (preferred && laneFits(*preferred, index)) return take(*preferred);
  for (llama_seq_id lane = scratch() + 1; lane < kMaxSequenceIds; ++lane) {
    if (laneFits(lane, index)) return take(lane);
  }
  KvBlock* oldest = nullptr;
  for (const auto& [hash, block] : blocks_) {
    const bool candidate = block->index == index && block->users == 0 && block.get() != parent;
    if (candidate && (oldest == nullptr || block->lastUse < oldest->lastUse)) oldest = block.get();
  }
  if (oldest == nullptr) return std::nullopt;
  const llama_seq_id lane = oldest->lane;
  evictTree(oldest);
  if (!laneFits(lane, index)) return std::nullopt;
  return take(lane);
}

// llama.cpp reuses cells of one sequence that lie behind its sliding window, so a lane spans less than a window.
bool KvCache::laneFits(llama_seq_id lane, uint32_t index) const {
  if (lanesAt_[index].test(static_cast<size_t>(lane))) return false;
  const auto& held = laneBlocks_[static_cast<size_t>(lane)];
  if (options_.slidingWindow == 0 || held.empty()) return true;
  const uint32_t low = std::min(index, *held.begin());
  const uint32_t high = std::max(index, *held.rbegin());
  return (high - low + 1) * options_.blockSize < options_.slidingWindow;
}

void KvCache::freeLane(llama_seq_id lane, uint32_t index) {
  lanesAt_[index].reset(static_cast<size_t>(lane));
  laneBlocks_[static_cast<size_t>(lane)].erase(index);
}

void KvCache::evict(KvBlock* block) {
  setEvictable(block, false);
  llama_memory_seq_rm(memory_, block->lane, begin(block->index), begin(block->index + 1));
  freeLane(block->lane, block->index);
  --idleBlocks_;
  changes_.removed(block->sequenceHash);
  if (KvBlock* parent = block->parent) {
    if (--parent->children == 0 && parent->users == 0) setEvictable(parent, true);
  }
  blocks_.erase(block->sequenceHash);
}

void KvCache::evictTree(KvBlock* block) {
  if (block->children > 0) {
    std::vector<KvBlock*> children;
    for (const auto& [hash, other] : blocks_) {
      if (other->parent == block) children.push_back(other.get());
    }
    for (KvBlock* child : children) evictTree(child);
  }
  evict(block);
}

void KvCache::use(KvBlock* block) {
  if (block->users == 0) {
    --idleBlocks_;
    setEvictable(block, false);
  } else if (block->users == block->holds) {
    --heldBlocks_;
  }
  ++block->users;
}

void KvCache::unuse(KvBlock* block) {
  if (--block->users == 0) setIdle(block);
  else if (block->users == block->holds) ++heldBlocks_;
}

void KvCache::hold(KvBlock* block) {
  if (block->users == 0) {
    --idleBlocks_;
    ++heldBlocks_;
    setEvictable(block, false);
  }
  ++block->users;
  ++block->holds;
}

void KvCache::unhold(KvBlock* block) {
  --block->holds;
  if (--block->users > 0) return;
  --heldBlocks_;
  setIdle(block);
}

void KvCache::setIdle(KvBlock* block) {
  ++idleBlocks_;
  block->lastUse = ++clock_;
  if (block->children == 0) setEvictable(block, true);
}

void KvCache::setEvictable(KvBlock* block, bool evictable) {
  if (evictable) evictable_.emplace(block->lastUse, block);
  else evictable_.erase({block->lastUse, block});
}

}  // namespace stator
