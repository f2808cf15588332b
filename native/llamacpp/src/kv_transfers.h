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
#include "kv_packer.h"
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

// What is copied, imported or held. Copies run in slices between the engine's steps, in turns, while a packer checks and
// seals on a thread of its own. Running sequences go first: where they need the room, holds and imports are revoked. Only the
// engine thread calls it.
class KvTransfers {
 public:
  using Clock = std::chrono::steady_clock;

  // `wake` is called on another thread when there may be something to do again.
  KvTransfers(llama_context* context, KvCache& cache, std::optional<KvBlockFormat> format, std::function<void()> wake)
      : context_(context), cache_(cache), format_(std::move(format)), wake_(std::move(wake)) {}
  KvTransfers(const KvTransfers&) = delete;

  const std::optional<KvBlockFormat>& format() const { return format_; }
  bool idle() const { return queue_.empty(); }
  // Whether a slice would find something to do.
  bool ready();

  void add(std::unique_ptr<KvTransfer> transfer);
  // Copies what is ready, at least one block and on until the time is over. `promisedCells`: what running sequences still
  // need. `waits`: nothing else is to be done, so that it helps the packer, and waits for it, until then. Returns the
  // number of blocks copied.
  uint32_t slice(Clock::duration time, uint64_t promisedCells, bool waits, std::vector<Completion>& settled);
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
    std::optional<ErrorInfo> error;
    uint32_t next = 0;                  // block to copy next
    uint32_t sent = 0;                  // imports: block to give to the packer next
    uint32_t packing = 0;               // batches that the packer has
    std::map<uint32_t, std::unique_ptr<KvBatch>> checked;  // imports: batches to copy in, by their first block
    std::vector<uint64_t> local;        // hashes of its blocks
    std::vector<uint64_t> sequence;
    std::vector<uint64_t> prefix;       // the same without adapter and salt
    std::vector<KvBlock*> held;         // from the start of the prompt
    std::vector<PendingBlock> pending;  // those after

    uint32_t end() const;
  };

  static bool hasNext(const Entry& entry) { return !entry.checked.empty() && entry.checked.begin()->first == entry.next; }
  bool copies(const Entry& entry) const;
  bool settles(const Entry& entry) const;
  void settle(uint32_t id, std::vector<Completion>& settled);
  uint32_t advance(Entry& entry, uint64_t promisedCells);
  void begin(Entry& entry);
  void makeRoom(const Entry& entry, uint64_t promisedCells) const;
  uint32_t batchBlocks(uint32_t most) const;
  std::unique_ptr<KvBatch> batchOf(const Entry& entry, uint32_t from);
  void pack(Entry& entry, std::unique_ptr<KvBatch> batch);
  void collect();
  void recycle(std::unique_ptr<KvBatch> batch);
  void abandon(Entry& entry);
  uint32_t exportBatch(Entry& entry);
  uint32_t importBatch(Entry& entry);
  bool copyIn(Entry& entry, KvBatch& batch);
  void measure(Clock::duration took, uint32_t blocks);
  void hash(Entry& entry) const;
  void revoke(Entry& entry);
  void forget(uint32_t id);

  llama_context* context_;
  KvCache& cache_;
  std::optional<KvBlockFormat> format_;
  std::function<void()> wake_;
  std::map<uint32_t, Entry> entries_;
  std::deque<uint32_t> queue_;  // those that are copied
  uint32_t batches_ = 0;        // on their way
  std::vector<std::unique_ptr<std::vector<uint8_t>>> stages_;  // that no batch uses
  Clock::duration sliceTime_{};
  double blockNs_ = 0;          // what copying a block took lately
  std::optional<KvPacker> packer_;
};

}  // namespace stator
