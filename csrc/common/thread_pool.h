// A small pool of threads that works through ranges of atoms.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace so3md {

/// Threads that live as long as the pool. One caller at a time; the calling thread works too, so size() == 1 starts no thread.
///
/// OpenMP is not used because a process that forks after a parallel region (multiprocessing, some ASE workflows) would hang in the
/// child; this pool notices a fork and starts new threads.
class ThreadPool {
 public:
  using Body = std::function<void(int begin, int end, int thread)>;

  /// `threads` <= 0: default_threads().
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Calls body(begin, end, thread) for consecutive ranges of at most `grain` items that cover 0..count. Which thread gets which range
  /// is not fixed, so bodies must not depend on it; but each begins with the same part of 0..count in every call, as far as it can, so that
  /// what it wrote in one call is in its cache in the next. The first exception of a body is thrown again here. Throws std::runtime_error,
  /// with a finished message, where the system does not let the threads start; nothing has been called then.
  void parallel_for(int count, int grain, const Body& body);

 private:
  // Items next..end are still to be done. A thread that has done its own part takes from the parts of others.
  struct alignas(64) Part {
    std::atomic<int> next{0};
    int end = 0;
  };

  // What the threads share. In a forked child the copy is unusable, even for its destructor: threads that do not exist there wait on
  // its condition variables. It is then given up as it is.
  struct Shared {
    std::mutex mutex;
    std::condition_variable wake, done;
    std::atomic<long> generation{0};  // of the calls; one more: there is work
    std::atomic<bool> stop{false};
    // Threads that take part in the call, and whether it is over: no more may join then. So a thread that the system has not let run yet
    // is not waited for.
    std::atomic<unsigned> joined{kOver};
    const Body* body = nullptr;
    int grain = 1;
    std::vector<Part> parts;  // one for each thread
    std::exception_ptr error;

    explicit Shared(int threads) : parts(static_cast<std::size_t>(threads)) {}
    void divide(int count);
    void work(int thread);
    void run_ranges(int thread);
    void wait_for_joined();
  };
  static constexpr unsigned kOver = 1u << 31;

  void start();
  void stop();
  void abandon();

  int size_;
  long process_ = 0;  // in which the threads run
  std::unique_ptr<Shared> shared_;
  std::vector<std::thread> threads_;
};

}  // namespace so3md
