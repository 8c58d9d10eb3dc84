// A small pool of threads that works through ranges of atoms.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
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
  /// `threads` <= 0: one per core that this process may use.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  /// Calls body(begin, end, thread) for consecutive ranges of at most `grain` items that cover 0..count. Which thread gets which range
  /// is not fixed, so bodies must not depend on it. The first exception of a body is thrown again here.
  void parallel_for(int count, int grain, const std::function<void(int begin, int end, int thread)>& body);

 private:
  void start();
  void work(int thread, long seen);
  void run_ranges(int thread);

  int size_;
  long owner_process_ = 0;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<long> generation_{0};
  int running_ = 0;
  bool stop_ = false;

  const std::function<void(int, int, int)>* body_ = nullptr;
  int count_ = 0;
  int grain_ = 1;
  std::atomic<int> next_{0};
  std::exception_ptr error_;
};

}  // namespace so3md
