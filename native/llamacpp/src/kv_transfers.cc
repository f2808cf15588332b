#include "kv_transfers.h"

#include <algorithm>

namespace stator {
namespace {

// Batches that are on their way at once, of all transfers: enough that neither thread waits for the other.
constexpr uint32_t kMostBatches = 8;
// Of one batch of several blocks: stays in the processor's caches between the two threads.
constexpr size_t kBatchBytes = size_t{3} << 19;
// Assumed until the first was measured.
constexpr double kBytesPerNs = 4;

CodedError overloaded(const std::string& message) { return {"overloaded", "", message}; }

}  // namespace

uint32_t KvTransfers::Entry::end() const {
  const uint32_t asked = transfer->from + static_cast<uint32_t>(transfer->spans.size());
  return transfer->imports || !begun ? asked : std::min(asked, std::max(next, static_cast<uint32_t>(held.size())));
}

void KvTransfers::add(std::unique_ptr<KvTransfer> transfer) {
  const uint32_t id = transfer->id;
  Entry entry;
  entry.transfer = std::move(transfer);
  entries_.emplace(id, std::move(entry));
  queue_.push_back(id);
}

// Whether the engine's thread can do something for it now.
bool KvTransfers::copies(const Entry& entry) const {
  if (!entry.begun) return true;
  if (entry.error || entry.revoked) return false;
  if (hasNext(entry)) return true;
  return batches_ < kMostBatches && (entry.transfer->imports ? entry.sent : entry.next) < entry.end();
}

bool KvTransfers::settles(const Entry& entry) const {
  if (!entry.begun || entry.packing > 0) return false;
  return entry.error || entry.revoked || entry.next >= entry.end();
}

bool KvTransfers::ready() {
  if (packer_ && packer_->hasDone()) return true;
  return std::any_of(queue_.begin(), queue_.end(), [this](uint32_t id) { return copies(entries_.at(id)) || settles(entries_.at(id)); });
}

uint32_t KvTransfers::slice(Clock::duration time, uint64_t promisedCells, bool waits, std::vector<Completion>& settled) {
  const auto until = Clock::now() + time;
  sliceTime_ = time;
  uint32_t copied = 0;
  size_t without = 0;  // turns in a row in which nothing was copied
  collect();
  while (!queue_.empty()) {
    if (without >= queue_.size()) {
      if (!waits || batches_ == 0 || Clock::now() >= until) break;
      // The packer may have to wait for a core.
      if (!packer_->help()) packer_->waitDone(until);
      collect();
      without = 0;
    }
    const uint32_t id = queue_.front();
    queue_.pop_front();
    Entry& entry = entries_.at(id);
    const uint32_t more = advance(entry, promisedCells);
    copied += more;
    without = more > 0 ? 0 : without + 1;
    if (settles(entry)) {
      settle(id, settled);
      without = 0;
    } else {
      queue_.push_back(id);
    }
    if (copied > 0 && Clock::now() >= until) break;
    if (packer_ && packer_->hasDone()) {
      collect();
      without = 0;
    }
  }
  cache_.clearScratch();
  return copied;
}

// One turn: copies at most one batch. Returns the number of blocks copied.
uint32_t KvTransfers::advance(Entry& entry, uint64_t promisedCells) {
  try {
    if (!entry.begun) {
      begin(entry);
      if (entry.transfer->imports) makeRoom(entry, promisedCells);
    }
    if (entry.revoked && entry.transfer->imports) throw overloaded("Running sequences need the room of the import.");
    if (entry.error || entry.revoked) return 0;
    if (!entry.transfer->imports) return batches_ < kMostBatches && entry.next < entry.end() ? exportBatch(entry) : 0;
    while (batches_ < kMostBatches && entry.sent < entry.end()) {
      auto batch = batchOf(entry, entry.sent);
      entry.sent += batch->count();
      pack(entry, std::move(batch));
    }
    return hasNext(entry) ? importBatch(entry) : 0;
  } catch (const std::exception& thrown) {
    cache_.clearScratch();
    if (!entry.error) entry.error = describe(thrown);
    abandon(entry);
    return 0;
  }
}

void KvTransfers::settle(uint32_t id, std::vector<Completion>& settled) {
  Entry& entry = entries_.at(id);
  settled.push_back(entry.transfer->settle(entry.error, entry.error ? 0 : entry.next - entry.transfer->from));
  if (entry.error || !entry.transfer->imports) forget(id);
}

// Finds and holds what is cached of the prompt. Blocks to import that are cached already need no copy.
void KvTransfers::begin(Entry& entry) {
  const KvTransfer& transfer = *entry.transfer;
  hash(entry);
  entry.begun = true;
  entry.held = cache_.find(transfer.tokens, entry.sequence, transfer.scope);
  for (KvBlock* block : entry.held) cache_.hold(block);
  entry.next = transfer.from;
  if (!transfer.imports) return;
  if (entry.held.size() < transfer.from) throw CodedError("conflict", "from", "Only " + std::to_string(entry.held.size()) + " blocks of the prefix are cached, not " + std::to_string(transfer.from) + ".");
  entry.next = static_cast<uint32_t>(entry.held.size());
  entry.sent = entry.next;
}

// As many as the slice has time for, by what copying took lately.
uint32_t KvTransfers::batchBlocks(uint32_t most) const {
  const double blockNs = blockNs_ > 0 ? blockNs_ : static_cast<double>(format_->bytes()) / kBytesPerNs;
  const double sliceNs = std::chrono::duration<double, std::nano>(sliceTime_).count();
  most = std::min(most, std::max(1u, static_cast<uint32_t>(std::min(sliceNs / blockNs, 1e6))));
  // What lies behind a sliding window, seen from the last block, would be left out.
  if (const uint32_t window = cache_.slidingWindow(); window > 0) most = std::min(most, std::max(1u, window / cache_.blockSize()));
  return std::min(most, std::max(1u, static_cast<uint32_t>(kBatchBytes / format_->bytes())));
}

std::unique_ptr<KvBatch> KvTransfers::batchOf(const Entry& entry, uint32_t from) {
  const KvTransfer& transfer = *entry.transfer;
  auto batch = std::make_unique<KvBatch>();
  batch->transfer = transfer.id;
  batch->imports = transfer.imports;
  batch->first = from;
  batch->place = from - transfer.from;
  batch->position = from * cache_.blockSize();
  const uint32_t count = batchBlocks(entry.end() - from);
  for (uint32_t i = 0; i < count; ++i) {
    const KvMemory& memory = transfer.spans[batch->place + i];
    // Exports have room for a block; how long an import's block is, is checked with it.
    batch->blocks.emplace_back(memory.data, transfer.imports ? memory.bytes : format_->bytes());
    batch->prefixes.push_back(entry.prefix[from + i]);
  }
  if (count == 1) return batch;
  if (stages_.empty()) {
    stages_.push_back(std::make_unique<std::vector<uint8_t>>(format_->stateBytes(static_cast<uint32_t>(kBatchBytes / format_->bytes()))));
  }
  batch->stage = std::move(stages_.back());
  stages_.pop_back();
  return batch;
}

void KvTransfers::pack(Entry& entry, std::unique_ptr<KvBatch> batch) {
  if (!packer_) packer_.emplace(*format_, wake_);
  ++batches_;
  ++entry.packing;
  packer_->add(std::move(batch));
}

// Takes back what the packer has done.
void KvTransfers::collect() {
  if (!packer_) return;
  for (auto& batch : packer_->take()) {
    Entry& entry = entries_.at(batch->transfer);
    --entry.packing;
    if (batch->error && !entry.error) {
      entry.error = std::move(batch->error);
      abandon(entry);
    }
    if (batch->imports && !entry.error && !entry.revoked) entry.checked.emplace(batch->first, std::move(batch));
    else recycle(std::move(batch));
  }
}

void KvTransfers::recycle(std::unique_ptr<KvBatch> batch) {
  --batches_;
  if (batch->stage) stages_.push_back(std::move(batch->stage));
}

// Takes back what was not begun of a transfer that ends early.
void KvTransfers::abandon(Entry& entry) {
  for (auto& [first, batch] : entry.checked) recycle(std::move(batch));
  entry.checked.clear();
  if (!packer_) return;
  for (auto& batch : packer_->withdraw(entry.transfer->id)) {
    --entry.packing;
    recycle(std::move(batch));
  }
}

void KvTransfers::makeRoom(const Entry& entry, uint64_t promisedCells) const {
  const uint64_t needed = uint64_t{entry.end() - entry.next} * cache_.blockSize();
  if (promisedCells + needed > uint64_t{cache_.freeCells()} + cache_.idleCells()) throw overloaded("Running sequences need the room of the import.");
}

uint32_t KvTransfers::exportBatch(Entry& entry) {
  const auto start = Clock::now();
  auto batch = batchOf(entry, entry.next);
  const uint32_t count = batch->count();
  cache_.clearScratch();
  cache_.lendToScratch(std::span(entry.held).subspan(entry.next, count));
  const std::span<uint8_t> state = batch->state(*format_);
  const size_t written = llama_state_seq_get_data(context_, state.data(), state.size(), cache_.scratch());
  if (written != state.size()) throw std::runtime_error("llama.cpp wrote " + std::to_string(written) + " bytes of blocks instead of " + std::to_string(state.size()));
  entry.next += count;
  pack(entry, std::move(batch));
  measure(Clock::now() - start, count);
  return count;
}

uint32_t KvTransfers::importBatch(Entry& entry) {
  const auto start = Clock::now();
  auto batch = std::move(entry.checked.begin()->second);
  entry.checked.erase(entry.checked.begin());
  const uint32_t count = batch->count();
  const bool sound = copyIn(entry, *batch);
  recycle(std::move(batch));
  if (!sound) throw overloaded("Running sequences need the room of the import.");
  measure(Clock::now() - start, count);
  return count;
}

// False where there is no room.
bool KvTransfers::copyIn(Entry& entry, KvBatch& batch) {
  const uint32_t tokens = batch.count() * cache_.blockSize();
  if (!cache_.reserve(tokens)) return false;
  cache_.willReadScratch();
  const std::span<uint8_t> state = batch.state(*format_);
  const size_t read = llama_state_seq_set_data(context_, state.data(), state.size(), cache_.scratch());
  // The memory of a single block may be shared with other processes: what was checked may have changed since.
  const llama_memory_t cells = llama_get_memory(context_);
  const bool whole = read == state.size() && llama_memory_seq_pos_min(cells, cache_.scratch()) == static_cast<llama_pos>(batch.position) &&
                     llama_memory_seq_pos_max(cells, cache_.scratch()) == static_cast<llama_pos>(batch.position + tokens - 1);
  if (!whole) return false;
  const auto lane = !entry.pending.empty() ? std::optional(entry.pending.back().lane) : batch.first > 0 ? std::optional(entry.held[batch.first - 1]->lane) : std::nullopt;
  const auto adopted = cache_.adoptScratch(batch.first, batch.count(), lane);
  entry.pending.insert(entry.pending.end(), adopted.begin(), adopted.end());
  entry.next += batch.count();
  return !adopted.empty();
}

void KvTransfers::measure(Clock::duration took, uint32_t blocks) {
  const double ns = std::chrono::duration<double, std::nano>(took).count() / blocks;
  blockNs_ = blockNs_ > 0 ? blockNs_ + (ns - blockNs_) / 4 : ns;
}

void KvTransfers::hash(Entry& entry) const {
  const KvTransfer& transfer = *entry.transfer;
  static_assert(sizeof(llama_token) == sizeof(uint32_t));
  const auto* tokens = reinterpret_cast<const uint32_t*>(transfer.tokens.data());
  const uint32_t blocks = entry.end();
  entry.local.resize(blocks);
  entry.sequence.resize(blocks);
  transfer.hasher.blocks(tokens, size_t{blocks} * cache_.blockSize(), cache_.blockSize(), entry.local.data(), entry.sequence.data());
  std::vector<uint64_t> local(blocks);
  entry.prefix.resize(blocks);
  BlockHasher("", "").blocks(tokens, size_t{blocks} * cache_.blockSize(), cache_.blockSize(), local.data(), entry.prefix.data());
}

// Its promise settles when the packer has let go of its memory.
void KvTransfers::cancel(uint32_t id, std::vector<Completion>& settled) {
  const auto queued = std::find(queue_.begin(), queue_.end(), id);
  if (queued == queue_.end()) return;
  Entry& entry = entries_.at(id);
  entry.begun = true;
  if (!entry.error) entry.error = ErrorInfo{"cancelled", "", "The transfer was cancelled."};
  abandon(entry);
  if (!settles(entry)) return;
  queue_.erase(queued);
  settle(id, settled);
}

uint32_t KvTransfers::accept(uint32_t id, uint32_t sound) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || !found->second.begun) throw CodedError("not_found", "", "There is no import of this number.");
  Entry& entry = found->second;
  const KvTransfer& transfer = *entry.transfer;
  const size_t size = cache_.blockSize();
  const uint32_t end = std::min(transfer.from + sound, entry.end());
  size_t taken = 0;
  for (; taken < entry.pending.size() && entry.pending[taken].index < end; ++taken) {
    const uint32_t index = entry.pending[taken].index;
    KvBlock* parent = entry.held.empty() ? nullptr : entry.held.back();
    KvBlock* block = cache_.commit(entry.pending[taken], parent, entry.sequence[index], entry.local[index], std::span(transfer.tokens).subspan(index * size, size), transfer.scope);
    if (block == nullptr) {
      ++taken;
      break;
    }
    entry.held.push_back(block);
  }
  for (; taken < entry.pending.size(); ++taken) cache_.drop(entry.pending[taken]);
  entry.pending.clear();
  return static_cast<uint32_t>(entry.held.size());
}

void KvTransfers::release(uint32_t id) {
  const bool copied = std::find(queue_.begin(), queue_.end(), id) == queue_.end();
  if (copied && entries_.contains(id)) forget(id);
}

bool KvTransfers::relieve() {
  for (auto& [id, entry] : entries_) {
    if (entry.held.empty() && entry.pending.empty()) continue;
    revoke(entry);
    return true;
  }
  return false;
}

void KvTransfers::revokeAdapter(const std::string& adapter) {
  for (auto& [id, entry] : entries_) {
    if (entry.transfer->adapter == adapter) revoke(entry);
  }
}

// Frees what it keeps. A copy that runs ends with its next turn; an import that waits to be accepted has no blocks then.
void KvTransfers::revoke(Entry& entry) {
  for (const PendingBlock& pending : entry.pending) cache_.drop(pending);
  entry.pending.clear();
  for (auto it = entry.held.rbegin(); it != entry.held.rend(); ++it) cache_.unhold(*it);
  entry.held.clear();
  entry.revoked = true;
}

void KvTransfers::forget(uint32_t id) {
  revoke(entries_.at(id));
  entries_.erase(id);
}

void KvTransfers::fail(const ErrorInfo& error, std::vector<Completion>& settled) {
  packer_.reset();
  for (const uint32_t id : queue_) settled.push_back(entries_.at(id).transfer->settle(error, 0));
  queue_.clear();
  entries_.clear();
  batches_ = 0;
}

}  // namespace stator
