#include "common/thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

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
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// An evaluation is a sequence of short parallel ranges, and to wake a thread that sleeps between them takes up to 100 us on a virtual
// machine. So threads that wait watch for a while, and then for a longer while leave the core to whoever wants it, before they sleep.
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr auto kYieldTime = std::chrono::milliseconds(2);

template <class Ready>
bool watch(const Ready& ready) {
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    if (ready()) return true;
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited > kYieldTime) return false;
    if (waited > kSpinTime) std::this_thread::yield();
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) : size_(threads > 0 ? threads : usable_cores()) {}

ThreadPool::~ThreadPool() {
  if (threads_.empty()) return;
  if (process_ != static_cast<long>(getpid())) {
    abandon();
    return;
  }
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
    ++shared_->generation;
  }
  shared_->wake.notify_all();
  for (auto& thread : threads_) thread.join();
}

// After a fork the threads exist in the parent only.
void ThreadPool::abandon() {
  for (auto& thread : threads_) thread.detach();
  threads_.clear();
  static_cast<void>(shared_.release());
}

void ThreadPool::start() {
  const long process = static_cast<long>(getpid());
  if (!threads_.empty() && process == process_) return;
  if (!threads_.empty()) abandon();
  process_ = process;
  shared_ = std::make_unique<Shared>(size_);
  for (int thread = 1; thread < size_; ++thread) threads_.emplace_back([shared = shared_.get(), thread] { shared->work(thread); });
}

// Parts of whole ranges, nearly equal.
void ThreadPool::Shared::divide(int count) {
  const std::int64_t ranges = (std::int64_t{count} + grain - 1) / grain, size = static_cast<std::int64_t>(parts.size());
  const auto boundary = [&](std::int64_t part) { return static_cast<int>(std::min<std::int64_t>(count, ranges * part / size * grain)); };
  for (std::int64_t part = 0; part < size; ++part) {
    parts[static_cast<std::size_t>(part)].next = boundary(part);
    parts[static_cast<std::size_t>(part)].end = boundary(part + 1);
  }
}

void ThreadPool::Shared::run_ranges(int thread) {
  for (std::size_t k = 0; k < parts.size(); ++k) {
    Part& part = parts[(static_cast<std::size_t>(thread) + k) % parts.size()];
    for (;;) {
      const int begin = part.next.fetch_add(grain);
      if (begin >= part.end) break;
      try {
        (*body)(begin, std::min(part.end, begin + grain), thread);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        for (Part& rest : parts) rest.next = rest.end;
      }
    }
  }
}

void ThreadPool::Shared::work(int thread) {
  long seen = 0;
  for (;;) {
    watch([&] { return generation.load(std::memory_order_acquire) != seen; });
    {
      std::unique_lock lock(mutex);
      wake.wait(lock, [&] { return generation != seen; });
      seen = generation;
      if (stop) return;
    }
    run_ranges(thread);
    const std::lock_guard lock(mutex);
    if (--running == 0) done.notify_one();
  }
}

void ThreadPool::parallel_for(int count, int grain, const Body& body) {
  if (count <= 0) return;
  grain = std::max(1, grain);
  if (size_ == 1 || count <= grain) {
    for (int begin = 0; begin < count; begin += grain) body(begin, std::min(count, begin + grain), 0);
    return;
  }
  start();
  Shared& shared = *shared_;
  {
    const std::lock_guard lock(shared.mutex);
    shared.body = &body;
    shared.grain = grain;
    shared.divide(count);
    shared.error = nullptr;
    shared.running = size_ - 1;
    ++shared.generation;
  }
  shared.wake.notify_all();
  shared.run_ranges(0);
  if (!watch([&] { return shared.running.load(std::memory_order_acquire) == 0; })) {
    std::unique_lock lock(shared.mutex);
    shared.done.wait(lock, [&] { return shared.running == 0; });
  }
  if (shared.error) std::rethrow_exception(shared.error);
}

}  // namespace so3md
