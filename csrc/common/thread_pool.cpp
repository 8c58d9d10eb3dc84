#include "common/thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>

#include "common/resources.h"

namespace so3md {

namespace {

// An evaluation is a sequence of short parallel ranges, and to wake a thread that sleeps between them takes up to 100 us on a virtual
// machine. So threads that wait watch for a while, and then for a longer while leave the core to whoever wants it, before they sleep.
constexpr auto kSpinTime = std::chrono::microseconds(50);
constexpr auto kYieldTime = std::chrono::milliseconds(2);

// Where others want the core, leaving it takes as long as they use it, and else less than a microsecond. To go on watching would then
// take from them, at every turn, time that nobody needs.
constexpr auto kWantedByOthers = std::chrono::microseconds(20);

// Watches until ready(), or until it is time to sleep.
template <class Ready>
bool watch(const Ready& ready) {
  const auto begin = std::chrono::steady_clock::now();
  auto now = begin;
  for (;;) {
    if (ready()) return true;
    if (now - begin > kYieldTime) return false;
    const auto before = now;
    const bool yields = now - begin > kSpinTime;
    if (yields) std::this_thread::yield();
    now = std::chrono::steady_clock::now();
    if (yields && now - before > kWantedByOthers) return ready();
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) : size_(threads > 0 ? threads : default_threads()) {}

ThreadPool::~ThreadPool() {
  if (threads_.empty()) return;
  if (process_ == static_cast<long>(getpid()))
    stop();
  else
    abandon();
}

void ThreadPool::stop() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stop = true;
    ++shared_->generation;
  }
  shared_->wake.notify_all();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
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
  threads_.reserve(static_cast<std::size_t>(size_));
  try {
    for (int thread = 1; thread < size_; ++thread) threads_.emplace_back([shared = shared_.get(), thread] { shared->work(thread); });
  } catch (const std::system_error& error) {
    const std::size_t started = threads_.size() + 1;  // with the one that calls
    stop();
    throw std::runtime_error(std::to_string(size_) + " threads were asked for, and the system lets only " + std::to_string(started) +
                             " run (" + error.code().message() + "): set threads to " + std::to_string(started) +
                             " or fewer, or raise the limit on processes or memory (ulimit -u, ulimit -v, or pids of the container)");
  }
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
    const auto called = [&] { return generation.load(std::memory_order_acquire) != seen; };
    if (!watch(called)) {
      std::unique_lock lock(mutex);
      wake.wait(lock, called);
    }
    seen = generation.load(std::memory_order_acquire);
    if (stop) return;
    if ((joined.fetch_add(1, std::memory_order_acq_rel) & kOver) == 0) run_ranges(thread);
    if (joined.fetch_sub(1, std::memory_order_acq_rel) != (kOver | 1u)) continue;
    const std::lock_guard lock(mutex);  // so that the caller either sleeps already or sees that nobody is left
    done.notify_one();
  }
}

void ThreadPool::Shared::wait_for_joined() {
  joined.fetch_or(kOver, std::memory_order_acq_rel);
  const auto alone = [&] { return joined.load(std::memory_order_acquire) == kOver; };
  if (watch(alone)) return;
  std::unique_lock lock(mutex);
  done.wait(lock, alone);
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
  shared.body = &body;
  shared.grain = grain;
  shared.divide(count);
  shared.error = nullptr;
  shared.joined.fetch_and(~kOver, std::memory_order_acq_rel);
  {
    const std::lock_guard lock(shared.mutex);
    ++shared.generation;
  }
  shared.wake.notify_all();
  shared.run_ranges(0);
  shared.wait_for_joined();
  if (shared.error) std::rethrow_exception(shared.error);
}

}  // namespace so3md
