#include "kv_transfers.h"

#include <algorithm>

namespace stator {
namespace {

CodedError overloaded(const std::string& message) { return {"overloaded", "", message}; }

}  // namespace

void KvTransfers::add(std::unique_ptr<KvTransfer> transfer) {
  const uint32_t id = transfer->id;
  Entry entry;
  entry.transfer = std::move(transfer);
  entries_.emplace(id, std::move(entry));
  queue_.push_back(id);
}

uint32_t KvTransfers::slice(Clock::duration time, uint64_t promisedCells, std::vector<Completion>& settled) {
  const auto until = Clock::now() + time;
  uint32_t copied = 0;
  while (!queue_.empty()) {
    const uint32_t id = queue_.front();
    Entry& entry = entries_.at(id);
    std::optional<ErrorInfo> error;
    bool done = true;
    try {
      done = copyNext(entry, promisedCells, copied);
    } catch (const std::exception& thrown) {
      cache_.clearScratch();
      error = describe(thrown);
    }
    queue_.pop_front();
    if (!done) {
      queue_.push_back(id);
    } else {
      settled.push_back(entry.transfer->settle(error, error ? 0 : entry.next - entry.transfer->from));
      if (error || !entry.transfer->imports) forget(id);
    }
    if (copied > 0 && Clock::now() >= until) break;
  }
  cache_.clearScratch();
  return copied;
}

bool KvTransfers::copyNext(Entry& entry, uint64_t promisedCells, uint32_t& copied) {
  const KvTransfer& transfer = *entry.transfer;
  if (!entry.begun) {
    begin(entry);
    if (transfer.imports) makeRoom(entry, promisedCells);
  }
  if (entry.revoked) {
    if (transfer.imports) throw overloaded("Running sequences need the room of the import.");
    return true;
  }
  const uint32_t end = transfer.imports ? entry.end() : std::min(entry.end(), static_cast<uint32_t>(entry.held.size()));
  if (entry.next >= end) return true;
  if (transfer.imports) importBlock(entry);
  else exportBlock(entry);
  ++copied;
  return ++entry.next >= end;
}

// Finds and holds what is cached of the prompt. Blocks to import that are cached already need no copy.
void KvTransfers::begin(Entry& entry) {
  const KvTransfer& transfer = *entry.transfer;
  entry.begun = true;
  hash(entry);
  entry.held = cache_.find(transfer.tokens, entry.sequence, transfer.scope);
  for (KvBlock* block : entry.held) cache_.hold(block);
  entry.next = transfer.from;
  if (!transfer.imports) return;
  if (entry.held.size() < transfer.from) throw CodedError("conflict", "from", "Only " + std::to_string(entry.held.size()) + " blocks of the prefix are cached, not " + std::to_string(transfer.from) + ".");
  entry.next = static_cast<uint32_t>(entry.held.size());
}

void KvTransfers::makeRoom(const Entry& entry, uint64_t promisedCells) const {
  const uint64_t needed = uint64_t{entry.end() - entry.next} * cache_.blockSize();
  if (promisedCells + needed > uint64_t{cache_.freeCells()} + cache_.idleCells()) throw overloaded("Running sequences need the room of the import.");
}

void KvTransfers::exportBlock(Entry& entry) {
  const uint32_t index = entry.next;
  const KvMemory& memory = entry.transfer->spans[index - entry.transfer->from];
  const std::span<uint8_t> block(memory.data, format_->bytes());
  cache_.clearScratch();
  cache_.lendToScratch(*entry.held[index]);
  const size_t written = llama_state_seq_get_data(context_, block.data() + sizeof(KvBlockHeader), format_->payloadBytes(), cache_.scratch());
  cache_.clearScratch();
  if (written != format_->payloadBytes()) throw std::runtime_error("llama.cpp wrote " + std::to_string(written) + " bytes of a block instead of " + std::to_string(format_->payloadBytes()));
  format_->seal(block, index * cache_.blockSize(), entry.prefix[index]);
}

void KvTransfers::importBlock(Entry& entry) {
  const uint32_t index = entry.next;
  const uint32_t place = index - entry.transfer->from;
  const KvMemory& memory = entry.transfer->spans[place];
  const std::span<const uint8_t> block(memory.data, memory.bytes);
  const uint32_t position = index * cache_.blockSize();
  if (const std::string reason = format_->reject(block, position, entry.prefix[index]); !reason.empty()) {
    throw invalid("spans[" + std::to_string(place) + "]", "This is not block " + std::to_string(index) + " of the prompt: " + reason + ".");
  }
  if (!cache_.reserve(cache_.blockSize())) throw overloaded("Running sequences need the room of the import.");
  cache_.willReadScratch();
  const size_t read = llama_state_seq_set_data(context_, block.data() + sizeof(KvBlockHeader), format_->payloadBytes(), cache_.scratch());
  // The memory may be shared with other processes: what was checked above may have changed since.
  const llama_memory_t cells = llama_get_memory(context_);
  const bool whole = read == format_->payloadBytes() && llama_memory_seq_pos_min(cells, cache_.scratch()) == static_cast<llama_pos>(position) &&
                     llama_memory_seq_pos_max(cells, cache_.scratch()) == static_cast<llama_pos>(position + cache_.blockSize() - 1);
  if (!whole) throw overloaded("llama.cpp found no place for a block, or the block changed while it was read.");
  const auto lane = !entry.pending.empty() ? std::optional(entry.pending.back().lane) : index > 0 ? std::optional(entry.held[index - 1]->lane) : std::nullopt;
  const auto pending = cache_.adoptScratch(index, lane);
  if (!pending) throw overloaded("Too many different blocks are in use at one position.");
  entry.pending.push_back(*pending);
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

void KvTransfers::cancel(uint32_t id, std::vector<Completion>& settled) {
  const auto queued = std::find(queue_.begin(), queue_.end(), id);
  if (queued == queue_.end()) return;
  queue_.erase(queued);
  settled.push_back(entries_.at(id).transfer->settle(ErrorInfo{"cancelled", "", "The transfer was cancelled."}, 0));
  forget(id);
}

uint32_t KvTransfers::accept(uint32_t id, uint32_t sound) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) throw CodedError("not_found", "", "There is no import of this number.");
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
  if (entries_.contains(id)) forget(id);
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
  for (const uint32_t id : queue_) settled.push_back(entries_.at(id).transfer->settle(error, 0));
  queue_.clear();
  entries_.clear();
}

}  // namespace stator
