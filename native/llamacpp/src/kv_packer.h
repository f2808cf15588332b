#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "errors.h"
#include "kv_block_format.h"

namespace stator {

// Neighbouring blocks of one transfer on their way between the memory of the caller and llama.cpp.
struct KvBatch {
  uint32_t transfer = 0;
  bool imports = false;
  uint32_t first = 0;     // block of the prompt
  uint32_t place = 0;     // of the first block in the transfer's spans
  uint32_t position = 0;  // of the first token
  std::vector<std::span<uint8_t>> blocks;
  std::vector<uint64_t> prefixes;
  // The state of all blocks, as llama.cpp reads or writes it; empty for a single block, whose own bytes hold it.
  std::unique_ptr<std::vector<uint8_t>> stage;
  std::optional<ErrorInfo> error;

  uint32_t count() const { return static_cast<uint32_t>(blocks.size()); }
  std::span<uint8_t> state(const KvBlockFormat& format);
};

// A thread that checks what comes in and seals what goes out, so that checksums cost the engine's thread nothing. Others may help.
class KvPacker {
 public:
  // `onDone` is called on the packer's thread after each batch.
  KvPacker(const KvBlockFormat& format, std::function<void()> onDone);
  ~KvPacker() { stop(); }
  KvPacker(const KvPacker&) = delete;
  KvPacker& operator=(const KvPacker&) = delete;

  void add(std::unique_ptr<KvBatch> batch);
  // Done ones, in any order.
  std::vector<std::unique_ptr<KvBatch>> take();
  bool hasDone();
  // Does the work of one batch on the caller's thread; false if none waits for the packer's.
  bool help();
  // Returns when a batch is done or the time has come.
  void waitDone(std::chrono::steady_clock::time_point until);
  // Batches of a transfer that were not begun.
  std::vector<std::unique_ptr<KvBatch>> withdraw(uint32_t transfer);
  // Returns when no memory is touched any more. Idempotent.
  void stop();

 private:
  void run();
  void finish(std::unique_ptr<KvBatch> batch);
  void work(KvBatch& batch) const;

  const KvBlockFormat& format_;
  std::function<void()> onDone_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable doneWake_;
  std::deque<std::unique_ptr<KvBatch>> queued_;
  std::vector<std::unique_ptr<KvBatch>> done_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace stator
