#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "memory.h"

namespace stator::hostmem {

// Work on memory in units that threads take one by one. Threads of their own, because long copies would keep the few of
// the event loop's pool from its files and names.
class Job {
 public:
  virtual ~Job() = default;
  // Any thread. Not called any more once canceled.
  virtual void run(size_t unit) = 0;
  // On the thread that ran the last unit, before anyone is told.
  virtual void end() {}
  // Called on the thread that ran the last unit, then dropped. Set before it is submitted.
  std::function<void()> finished;
  // Memory that it works on; let go before `finished` is called.
  std::vector<MappingRef> holds;

  void cancel() { canceled_.store(true, std::memory_order_relaxed); }
  bool canceled() const { return canceled_.load(std::memory_order_relaxed); }
  void advance(uint64_t bytes) { progress_.fetch_add(bytes, std::memory_order_relaxed); }
  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }
  // Returns when no thread touches its memory any more.
  void wait();

  std::atomic<bool>& cancelFlag() { return canceled_; }
  std::atomic<uint64_t>& progressCounter() { return progress_; }

 private:
  friend class Pool;
  std::atomic<bool> canceled_{false};
  std::atomic<uint64_t> progress_{0};
  // The pool's, under its lock.
  size_t units_ = 0;
  size_t next_ = 0;
  size_t ended_ = 0;
  size_t running_ = 0;
  size_t maxThreads_ = 1;
  // Set after finished().
  std::mutex mutex_;
  std::condition_variable idle_;
  bool done_ = false;
};

// Threads that the pool has at most.
size_t poolThreads();
// Runs `units` units of the job on at most `maxThreads` threads; jobs take turns.
void submit(std::shared_ptr<Job> job, size_t units, size_t maxThreads);

}  // namespace stator::hostmem
