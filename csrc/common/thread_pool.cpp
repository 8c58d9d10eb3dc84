#include "common/thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>

#ifdef __linux__
#include <sched.h>
#endif

namespace so3md {

namespace {

int usable_cores() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1u, std::thread::hardware_concurrency());
}

// An evaluation is a sequence of short parallel ranges; a thread that sleeps between them costs more than it saves.
constexpr auto kSpinTime = std::chrono::microseconds(50);

}  // namespace

ThreadPool::ThreadPool(int threads) : size_(threads > 0 ? threads : usable_cores()) {}

ThreadPool::~ThreadPool() {
  if (owner_process_ != static_cast<long>(getpid())) {
    // Forked: the threads exist in the parent only.
    for (auto& thread : threads_) thread.detach();
    return;
  }
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ThreadPool::start() {
  const long process = static_cast<long>(getpid());
  if (process == owner_process_ && static_cast<int>(threads_.size()) == size_ - 1) return;
  for (auto& thread : threads_) thread.detach();
  threads_.clear();
  owner_process_ = process;
  running_ = 0;
  const long seen = generation_;
  for (int thread = 1; thread < size_; ++thread) threads_.emplace_back([this, thread, seen] { work(thread, seen); });
}

void ThreadPool::run_ranges(int thread) {
  for (;;) {
    const int begin = next_.fetch_add(grain_);
    if (begin >= count_) return;
    try {
      (*body_)(begin, std::min(count_, begin + grain_), thread);
    } catch (...) {
      std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      next_ = count_;
    }
  }
}

void ThreadPool::work(int thread, long seen) {
  for (;;) {
    const auto give_up = std::chrono::steady_clock::now() + kSpinTime;
    while (generation_.load(std::memory_order_acquire) == seen && std::chrono::steady_clock::now() < give_up) {
    }
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (stop_) return;
    }
    run_ranges(thread);
    std::lock_guard lock(mutex_);
    if (--running_ == 0) done_.notify_one();
  }
}

void ThreadPool::parallel_for(int count, int grain, const std::function<void(int, int, int)>& body) {
  if (count <= 0) return;
  grain = std::max(1, grain);
  if (size_ == 1 || count <= grain) {
    for (int begin = 0; begin < count; begin += grain) body(begin, std::min(count, begin + grain), 0);
    return;
  }
  start();
  {
    std::lock_guard lock(mutex_);
    body_ = &body;
    count_ = count;
    grain_ = grain;
    next_ = 0;
    error_ = nullptr;
    running_ = size_ - 1;
    ++generation_;
  }
  wake_.notify_all();
  run_ranges(0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return running_ == 0; });
  if (error_) std::rethrow_exception(error_);
}

}  // namespace so3md
