#pragma once

#include <llama.h>

#include <bitset>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "block_hash.h"
#include "kv_events.h"

namespace stator {

// A cached block: its cells are marked in the context with the sequence id of a lane. A lane is a sequence id that only
// holds cached blocks, at most one for each block position, so that (lane, position) names a block's cells exactly.
struct KvBlock {
  uint64_t sequenceHash = 0;
  uint64_t localHash = 0;
  KvBlock* parent = nullptr;
  uint32_t index = 0;     // position of the block in its prompt
  llama_seq_id lane = 0;
  uint32_t children = 0;  // cached blocks that continue this one
  uint32_t users = 0;     // running sequences whose prefix contains it, and holds
  uint32_t holds = 0;     // users that only keep it from eviction
  uint64_t lastUse = 0;
  // What the hashes stand for. A 64-bit hash alone never decides whose cells are read.
  std::string scope;
  std::vector<llama_token> tokens;
};

// What one running sequence holds. All its cells carry its slot's sequence id.
struct SequenceKv {
  llama_seq_id slot = -1;
  std::vector<KvBlock*> path;      // cached blocks from the start of the prompt
  std::vector<uint64_t> local;     // hashes of the full blocks of its tokens, as far as needed
  std::vector<uint64_t> sequence;
  uint32_t privateCells = 0;       // cells that no cached block owns
  bool shareable = true;           // false once a block could not be cached: later ones have no parent then
};

// A block whose cells came from elsewhere. They are marked with a lane, but no sequence finds them.
struct PendingBlock {
  uint32_t index = 0;
  llama_seq_id lane = 0;
};

struct KvCacheOptions {
  uint32_t cells = 0;
  uint32_t blockSize = 0;
  uint32_t maxSequences = 0;   // slots are sequence ids 0 … maxSequences - 1, then comes the scratch id, lanes are the rest
  uint32_t slidingWindow = 0;  // tokens; 0: none
  bool enabled = true;         // false: nothing is kept, no events (recurrent models)
};

// Prefix cache over llama.cpp's unified KV cells. Blocks are shared with running sequences by marking cells, never by
// copying; idle ones are evicted least recently used first, leaves before their parents. Only the engine thread calls it.
class KvCache {
 public:
  KvCache(llama_memory_t memory, KvCacheOptions options);

  // Shares the longest cached prefix of `tokens` with the sequence, which must be empty, but leaves at least one token
  // to compute. Returns the number of tokens shared.
  uint32_t attach(SequenceKv& kv, std::span<const llama_token> tokens, const std::string& scope, const BlockHasher& hasher);

  // Counts cells that the last decode filled, then caches every block that is full now.
  void extend(SequenceKv& kv, std::span<const llama_token> computed, uint32_t added, const std::string& scope, const BlockHasher& hasher);

  // Frees the sequence's own cells; its cached blocks stay.
  void detach(SequenceKv& kv);

  // Evicts until `cells` are free. False if running sequences hold too many.
  bool reserve(uint32_t cells);

  // Forgets every block that no running sequence uses and whose scope begins so; returns how many.
  uint64_t clear(const std::string& scopePrefix);

  // The cached blocks that a prompt with these hashes begins with. It has at least as many full blocks as hashes.
  std::vector<KvBlock*> find(std::span<const llama_token> tokens, std::span<const uint64_t> hashes, const std::string& scope) const;

  // Keeps blocks, and with them those before, from eviction.
  void hold(KvBlock* block);
  void unhold(KvBlock* block);

  // The sequence id that has cells only while blocks are copied: those whose state llama.cpp then writes or reads.
  llama_seq_id scratch() const { return static_cast<llama_seq_id>(options_.maxSequences); }
  void lendToScratch(std::span<KvBlock* const> blocks);
  // Before llama.cpp reads a state into it, which forgets the cells it had: no need to clear it between imports.
  void willReadScratch() { scratchUsed_ = true; }
  void clearScratch();

  // Takes the scratch id's cells, which are those of `count` blocks from `index` on. Nothing if no lane is free there.
  std::vector<PendingBlock> adoptScratch(uint32_t index, uint32_t count, std::optional<llama_seq_id> lane);
  // Frees a pending block's cells.
  void drop(const PendingBlock& pending);
  // Makes it a cached block under one hold, or drops it where the cache has that block already and holds that.
  // Null, and dropped, if its hash belongs to another block.
  KvBlock* commit(const PendingBlock& pending, KvBlock* parent, uint64_t hash, uint64_t local, std::span<const llama_token> tokens, const std::string& scope);

  // Every cached block, parents first.
  std::vector<KvChange> snapshot() const;

  std::vector<KvChange> takeChanges() { return changes_.take(); }

  uint32_t freeCells() const { return options_.cells - usedCells(); }
  uint32_t idleCells() const { return idleBlocks_ * options_.blockSize; }
  // Of blocks that nothing but holds keeps.
  uint32_t heldCells() const { return heldBlocks_ * options_.blockSize; }
  uint32_t activeBlocks() const;
  uint32_t cachedBlocks() const { return idleBlocks_; }
  uint32_t blockSize() const { return options_.blockSize; }
  uint32_t slidingWindow() const { return options_.slidingWindow; }

 private:
  uint32_t usedCells() const { return static_cast<uint32_t>(blocks_.size()) * options_.blockSize + privateCells_; }
  llama_pos begin(uint32_t index) const { return static_cast<llama_pos>(index * options_.blockSize); }
  KvBlock* find(uint64_t hash, const KvBlock* parent, std::span<const llama_token> tokens, const std::string& scope) const;
  void hash(SequenceKv& kv, std::span<const llama_token> tokens, size_t blocks, const BlockHasher& hasher) const;
  bool append(SequenceKv& kv, uint32_t index, std::span<const llama_token> tokens, const std::string& scope);
  std::optional<llama_seq_id> takeLane(uint32_t index, std::optional<llama_seq_id> preferred, const KvBlock* parent);
  void freeLane(llama_seq_id lane, uint32_t index);
  bool laneFits(llama_seq_id lane, uint32_t index) const;
  void evict(KvBlock* block);
  void evictTree(KvBlock* block);
  void use(KvBlock* block);
  void unuse(KvBlock* block);
  void setIdle(KvBlock* block);
  void setEvictable(KvBlock* block, bool evictable);

  llama_memory_t memory_;
  KvCacheOptions options_;
  std::unordered_map<uint64_t, std::unique_ptr<KvBlock>> blocks_;
  std::set<std::pair<uint64_t, KvBlock*>> evictable_;         // idle leaves, oldest first
  std::vector<std::bitset<256>> lanesAt_;                     // block position → lanes taken there
  std::vector<std::set<uint32_t>> laneBlocks_;                // lane → block positions it holds
  uint32_t privateCells_ = 0;
  uint32_t idleBlocks_ = 0;
  uint32_t heldBlocks_ = 0;
  bool scratchUsed_ = false;
  uint64_t clock_ = 0;
  KvChanges changes_;
};

}  // namespace stator
