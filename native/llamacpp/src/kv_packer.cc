#include "kv_packer.h"

#include <utility>

namespace stator {

std::span<uint8_t> KvBatch::state(const KvBlockFormat& format) {
  if (blocks.size() == 1) return blocks.front().subspan(sizeof(KvBlockHeader));
  return std::span(*stage).first(format.stateBytes(count()));
}

KvPacker::KvPacker(const KvBlockFormat& format, std::function<void()> onDone) : format_(format), onDone_(std::move(onDone)), thread_([this] { run(); }) {}

void KvPacker::add(std::unique_ptr<KvBatch> batch) {
  std::lock_guard lock(mutex_);
  queued_.push_back(std::move(batch));
  wake_.notify_one();
}

std::vector<std::unique_ptr<KvBatch>> KvPacker::take() {
  std::lock_guard lock(mutex_);
  return std::exchange(done_, {});
}

bool KvPacker::hasDone() {
  std::lock_guard lock(mutex_);
  return !done_.empty();
}

void KvPacker::waitDone(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(mutex_);
  doneWake_.wait_until(lock, until, [this] { return !done_.empty(); });
}

std::vector<std::unique_ptr<KvBatch>> KvPacker::withdraw(uint32_t transfer) {
  std::lock_guard lock(mutex_);
  std::vector<std::unique_ptr<KvBatch>> withdrawn;
  for (auto it = queued_.begin(); it != queued_.end();) {
    if ((*it)->transfer != transfer) {
      ++it;
      continue;
    }
    withdrawn.push_back(std::move(*it));
    it = queued_.erase(it);
  }
  return withdrawn;
}

void KvPacker::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void KvPacker::run() {
  for (;;) {
    std::unique_ptr<KvBatch> batch;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !queued_.empty(); });
      if (stopping_) return;
      batch = std::move(queued_.front());
      queued_.pop_front();
    }
    finish(std::move(batch));
    onDone_();
  }
}

bool KvPacker::help() {
  std::unique_ptr<KvBatch> batch;
  {
    std::lock_guard lock(mutex_);
    if (queued_.empty()) return false;
    batch = std::move(queued_.front());
    queued_.pop_front();
  }
  finish(std::move(batch));
  return true;
}

void KvPacker::finish(std::unique_ptr<KvBatch> batch) {
  try {
    work(*batch);
  } catch (const std::exception& thrown) {
    batch->error = describe(thrown);
  }
  std::lock_guard lock(mutex_);
  done_.push_back(std::move(batch));
  doneWake_.notify_one();
}

void KvPacker::work(KvBatch& batch) const {
  if (!batch.imports) return format_.split(batch.stage ? batch.state(format_) : std::span<uint8_t>(), batch.position, batch.blocks, batch.prefixes);
  for (uint32_t i = 0; i < batch.count(); ++i) {
    const std::string reason = format_.reject(batch.blocks[i], batch.position + i * format_.blockTokens(), batch.prefixes[i]);
    if (reason.empty()) continue;
    throw invalid("spans[" + std::to_string(batch.place + i) + "]", "This is not block " + std::to_string(batch.first + i) + " of the prompt: " + reason + ".");
  }
  if (batch.stage) format_.join(batch.blocks, batch.position, batch.state(format_));
}

}  // namespace stator
