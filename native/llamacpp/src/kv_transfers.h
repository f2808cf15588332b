#pragma once

#include <llama.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block_hash.h"
#include "errors.h"
#include "kv_block_format.h"
#include "kv_cache.h"
#include "step.h"

namespace stator {

// Memory of JavaScript's, which keeps it alive until the transfer settles.
struct KvMemory {
  uint8_t* data = nullptr;
  size_t bytes = 0;
};

// Copies blocks of a prompt out of the cache or into it. Its number goes on as that of the import, and then of its hold.
struct KvTransfer {
  uint32_t id = 0;
  bool imports = false;
  std::vector<llama_token> tokens;  // of the blocks up to the last one to copy
  std::string adapter;
  std::string scope;
  BlockHasher hasher{0};
  uint32_t from = 0;                // first block to copy
  std::vector<KvMemory> spans;      // one for each block
  // Makes what settles the promise: with an error, or the number of blocks that were copied.
  std::function<Completion(std::optional<ErrorInfo>, uint32_t)> settle;
};

// What is copied, imported or held. Copies run in slices between the engine's steps, in turns. Running sequences go first:
// where they need the room, holds and imports are revoked. Only the engine thread calls it.
class KvTransfers {
 public:
  using Clock = std::chrono::steady_clock;

  KvTransfers(llama_context* context, KvCache& cache, std::optional<KvBlockFormat> format)
      : context_(context), cache_(cache), format_(std::move(format)) {}

  const std::optional<KvBlockFormat>& format() const { return format_; }
  bool idle() const { return queue_.empty(); }

  void add(std::unique_ptr<KvTransfer> transfer);
  // Copies at least one block, and on until the time is over. `promisedCells`: what running sequences still need.
  // Returns the number of blocks copied.
  uint32_t slice(Clock::duration time, uint64_t promisedCells, std::vector<Completion>& settled);
  // Ends a copy that runs; ignores other numbers.
  void cancel(uint32_t id, std::vector<Completion>& settled);
  // Caches the first `sound` of the imported blocks and holds them with the blocks before; returns how many are held.
  uint32_t accept(uint32_t id, uint32_t sound);
  // Ends a hold, or forgets an import that was not accepted. Ignores unknown numbers.
  void release(uint32_t id);
  // Revokes the oldest hold or import that keeps cells. False if there is none.
  bool relieve();
  // Revokes everything of an adapter that goes.
  void revokeAdapter(const std::string& adapter);
  // Settles all copies with an error and forgets everything without touching the cache.
  void fail(const ErrorInfo& error, std::vector<Completion>& settled);

 private:
  struct Entry {
    std::unique_ptr<KvTransfer> transfer;
    bool begun = false;
    bool revoked = false;
    uint32_t next = 0;                  // block to copy next
    std::vector<uint64_t> local;        // hashes of its blocks
    std::vector<uint64_t> sequence;
    std::vector<uint64_t> prefix;       // the same without adapter and salt
    std::vector<KvBlock*> held;         // from the start of the prompt
    std::vector<PendingBlock> pending;  // those after

    uint32_t end() const { return transfer->from + static_cast<uint32_t>(transfer->spans.size()); }
  };

  // True once there is nothing left to copy.
  bool copyNext(Entry& entry, uint64_t promisedCells, uint32_t& copied);
  void begin(Entry& entry);
  void makeRoom(const Entry& entry, uint64_t promisedCells) const;
  void exportBlock(Entry& entry);
  void importBlock(Entry& entry);
  void hash(Entry& entry) const;
  void revoke(Entry& entry);
  void forget(uint32_t id);

  llama_context* context_;
  KvCache& cache_;
  std::optional<KvBlockFormat> format_;
  std::map<uint32_t, Entry> entries_;
  std::deque<uint32_t> queue_;  // those that are copied
};

}  // namespace stator
