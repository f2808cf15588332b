#include "pool.h"

#include <pthread.h>

#include <algorithm>
#include <deque>
#include <thread>
#include <utility>

namespace stator::hostmem {

class Pool {
 public:
  // Never destroyed: its threads run until the process ends.
  static Pool& get() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  void add(std::shared_ptr<Job> job, size_t units, size_t maxThreads) {
    std::lock_guard lock(mutex_);
    job->units_ = units;
    job->maxThreads_ = std::clamp<size_t>(maxThreads, 1, poolThreads());
    const size_t wanted = std::min(units, job->maxThreads_);
    waiting_.push_back(std::move(job));
    for (size_t i = idle_; i < wanted && threads_ < poolThreads(); ++i) start();
    if (wanted == 1) ready_.notify_one();
    else ready_.notify_all();
  }

 private:
  void start() {
    ++threads_;
    std::thread([this] { work(); }).detach();
  }

  // The next job that may have another thread goes to the end of the line.
  std::shared_ptr<Job> take(size_t& unit) {
    for (auto place = waiting_.begin(); place != waiting_.end(); ++place) {
      std::shared_ptr<Job> job = *place;
      if (job->running_ >= job->maxThreads_) continue;
      unit = job->next_++;
      ++job->running_;
      waiting_.erase(place);
      if (job->next_ < job->units_) waiting_.push_back(job);
      return job;
    }
    return nullptr;
  }

  void work() {
    pthread_setname_np(pthread_self(), "stator-memory");
    std::unique_lock lock(mutex_);
    while (true) {
      size_t unit = 0;
      const std::shared_ptr<Job> job = take(unit);
      if (job == nullptr) {
        ++idle_;
        ready_.wait(lock);
        --idle_;
        continue;
      }
      lock.unlock();
      if (!job->canceled()) job->run(unit);
      lock.lock();
      --job->running_;
      if (++job->ended_ < job->units_) continue;
      lock.unlock();
      finish(*job);
      lock.lock();
    }
  }

  static void finish(Job& job) {
    job.end();
    job.holds.clear();
    // It may refer to the job itself.
    const std::function<void()> finished = std::exchange(job.finished, nullptr);
    if (finished) finished();
    std::lock_guard lock(job.mutex_);
    job.done_ = true;
    job.idle_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::shared_ptr<Job>> waiting_;
  size_t threads_ = 0;
  size_t idle_ = 0;
};

void Job::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return done_; });
}

size_t poolThreads() {
  static const size_t threads = std::clamp<size_t>(std::thread::hardware_concurrency(), 2, 8);
  return threads;
}

void submit(std::shared_ptr<Job> job, size_t units, size_t maxThreads) { Pool::get().add(std::move(job), units, maxThreads); }

}  // namespace stator::hostmem
