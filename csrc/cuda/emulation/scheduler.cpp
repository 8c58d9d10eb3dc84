// A checked longjmp refuses to change stacks.
#undef _FORTIFY_SOURCE

#include "cuda/emulation/scheduler.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace so3md::emulation {

constinit thread_local Place place;

namespace {

constexpr int kWarp = 32;
constexpr std::size_t kStackBytes = std::size_t{256} * 1024;

enum class State { fresh, ready, at_block_barrier, at_warp_operation, ended };

// A thread of the kernel.
struct Thread {
  State state = State::fresh;
  uint3 index;
  int fiber = -1;
  SourcePlace where;  // of what it waits for
  unsigned mask = 0;
  WarpOperation operation = WarpOperation::wait;
  std::uint64_t value = 0, result = 0;
  int source = 0;
};

class Stack {
 public:
  Stack() : memory_(mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
  }
  ~Stack() { munmap(memory_, kStackBytes); }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  void* data() const { return memory_; }

 private:
  void* memory_;
};

// setcontext() starts a fiber, and the jumps, which unlike it need no call of the system, go back and forth.
struct Fiber {
  Stack stack;
  ucontext_t start;
  jmp_buf jump;
  bool started = false;
};

std::string text(const SourcePlace& where) { return std::string(where.file) + ":" + std::to_string(where.line); }

// Runs one block after the other. One of these per thread of the host.
class Scheduler {
 public:
  void run_block(const std::function<void()>& body, dim3 size, bool reverse) {
    body_ = &body;
    reverse_ = reverse;
    make_threads(size);
    next_fresh_ = 0;
    free_fibers_.clear();
    for (int fiber = static_cast<int>(fibers_.size()) - 1; fiber >= 0; --fiber) free_fibers_.push_back(fiber);
    live_ = static_cast<int>(threads_.size());
    waiting_ = 0;
    while (live_ > 0) {
      const bool moved = run_ready();
      if (live_ > 0 && waiting_ == live_) {
        release_block();
      } else if (!moved && live_ > 0) {
        fail_stuck();
      }
    }
  }

  void wait_for_block(const SourcePlace& where) {
    Thread& thread = threads_[running_];
    thread.state = State::at_block_barrier;
    thread.where = where;
    ++waiting_;
    leave();
  }

  std::uint64_t wait_for_warp(unsigned mask, WarpOperation operation, std::uint64_t value, int source, const SourcePlace& where) {
    Thread& thread = threads_[running_];
    thread.state = State::at_warp_operation;
    thread.where = where;
    thread.mask = mask;
    thread.operation = operation;
    thread.value = value;
    thread.source = source;
    if (!finish_warp_operation(running_, mask)) leave();
    return threads_[running_].result;
  }

  int lane() const { return static_cast<int>(running_ % kWarp); }

 private:
  void make_threads(dim3 size) {
    threads_.assign(static_cast<std::size_t>(size.x) * size.y * size.z, Thread{});
    std::size_t at = 0;
    for (unsigned z = 0; z < size.z; ++z)
      for (unsigned y = 0; y < size.y; ++y)
        for (unsigned x = 0; x < size.x; ++x) threads_[at++].index = {x, y, z};
  }

  std::size_t in_order(std::size_t k) const { return reverse_ ? threads_.size() - 1 - k : k; }

  // Runs every thread that can run, once. Returns whether there was one.
  bool run_ready() {
    bool moved = false;
    while (next_fresh_ < threads_.size()) {
      moved = true;
      resume(acquire_fiber());
    }
    for (std::size_t k = 0; k < threads_.size(); ++k) {
      const std::size_t number = in_order(k);
      if (threads_[number].state != State::ready) continue;
      moved = true;
      enter(number);
      resume(threads_[number].fiber);
    }
    return moved;
  }

  int acquire_fiber() {
    if (free_fibers_.empty()) {
      free_fibers_.push_back(static_cast<int>(fibers_.size()));
      fibers_.push_back(std::make_unique<Fiber>());
    }
    const int fiber = free_fibers_.back();
    free_fibers_.pop_back();
    return fiber;
  }

  void enter(std::size_t number) {
    running_ = number;
    place.thread = threads_[number].index;
  }

  // From the scheduler to a fiber, until that one leaves.
  void resume(int number) {
    jump_to(number);
    throw_failure();
  }

  void jump_to(int number) {
    fiber_ = number;
    Fiber& fiber = *fibers_[static_cast<std::size_t>(number)];
    if (_setjmp(home_) != 0) return;
    if (fiber.started) _longjmp(fiber.jump, 1);
    fiber.started = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.data();
    fiber.start.uc_stack.ss_size = kStackBytes;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, &Scheduler::fiber_main, 0);
    setcontext(&fiber.start);
  }

  // From a fiber to the scheduler, until it is resumed.
  void leave() {
    threads_[running_].fiber = fiber_;
    Fiber& fiber = *fibers_[static_cast<std::size_t>(fiber_)];
    if (_setjmp(fiber.jump) == 0) _longjmp(home_, 1);
  }

  static void fiber_main();

  // Fresh threads one after the other, as long as none has to wait: kernels without barriers need a single fiber. Never returns.
  void run_fresh_threads() {
    for (;;) {
      while (next_fresh_ < threads_.size()) {
        const std::size_t number = in_order(next_fresh_++);
        threads_[number].state = State::ready;
        enter(number);
        (*body_)();
        threads_[running_].state = State::ended;
        --live_;
      }
      free_fibers_.push_back(fiber_);
      Fiber& fiber = *fibers_[static_cast<std::size_t>(fiber_)];
      if (_setjmp(fiber.jump) == 0) _longjmp(home_, 1);
    }
  }

  void release_block() {
    const Thread* first = nullptr;
    for (Thread& thread : threads_) {
      if (thread.state != State::at_block_barrier) continue;
      if (first == nullptr) first = &thread;
      if (thread.where.line != first->where.line || std::strcmp(thread.where.file, first->where.file) != 0)
        throw KernelError("threads of one block wait at different barriers: " + text(first->where) + " and " + text(thread.where));
      thread.state = State::ready;
    }
    waiting_ = 0;
  }

  // If all lanes of the mask are here: gives them their results and lets them go on.
  bool finish_warp_operation(std::size_t number, unsigned mask) {
    const std::size_t warp = number - number % kWarp;
    if (((mask >> (number % kWarp)) & 1u) == 0)
      throw_from_fiber("a thread is not in the mask of its own warp operation, " + text(threads_[number].where));
    std::uint64_t ballot = 0;
    for (std::size_t lane = 0; lane < kWarp; ++lane) {
      if (((mask >> lane) & 1u) == 0) continue;
      if (warp + lane >= threads_.size())
        throw_from_fiber("a warp operation waits for lanes that its block does not have, " + text(threads_[number].where));
      const Thread& other = threads_[warp + lane];
      if (other.state != State::at_warp_operation || other.mask != mask) return false;
      if (other.operation != threads_[number].operation)
        throw_from_fiber("the lanes of a warp are at different operations: " + text(threads_[number].where) + " and " + text(other.where));
      if (other.value != 0) ballot |= std::uint64_t{1} << lane;
    }
    for (std::size_t lane = 0; lane < kWarp; ++lane) {
      if (((mask >> lane) & 1u) == 0) continue;
      Thread& thread = threads_[warp + lane];
      if (thread.operation == WarpOperation::ballot) {
        thread.result = ballot;
      } else if (thread.operation == WarpOperation::shuffle) {
        if (((mask >> thread.source) & 1u) == 0)
          throw_from_fiber("a shuffle reads lane " + std::to_string(thread.source) + ", which does not take part, " + text(thread.where));
        thread.result = threads_[warp + static_cast<std::size_t>(thread.source)].value;
      }
    }
    for (std::size_t lane = 0; lane < kWarp; ++lane)
      if (((mask >> lane) & 1u) != 0) threads_[warp + lane].state = State::ready;
    return true;
  }

  // An exception cannot leave a fiber: the scheduler throws it.
  [[noreturn]] void throw_from_fiber(const std::string& message) {
    failure_ = message;
    _longjmp(home_, 1);
  }

  void throw_failure() {
    if (failure_.empty()) return;
    const std::string message = std::move(failure_);
    failure_.clear();
    throw KernelError(message);
  }

  [[noreturn]] void fail_stuck() {
    std::string message = "threads of a block wait for others that never come; they are at";
    std::string last;
    for (const Thread& thread : threads_) {
      if (thread.state != State::at_block_barrier && thread.state != State::at_warp_operation) continue;
      std::string where = text(thread.where);
      if (where == last) continue;
      message += " " + where + " (thread " + std::to_string(thread.index.x) + ")";
      last = std::move(where);
    }
    throw KernelError(message);
  }

  const std::function<void()>* body_ = nullptr;
  bool reverse_ = false;
  std::vector<Thread> threads_;
  std::size_t next_fresh_ = 0, running_ = 0;
  int live_ = 0, waiting_ = 0;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<int> free_fibers_;
  int fiber_ = 0;
  jmp_buf home_;
  std::string failure_;
};

// A failed kernel leaves fibers in the middle of their work, so its scheduler is thrown away.
thread_local std::unique_ptr<Scheduler> scheduler;

void Scheduler::fiber_main() { scheduler->run_fresh_threads(); }

}  // namespace

void wait_for_block(const SourcePlace& where) { scheduler->wait_for_block(where); }

std::uint64_t wait_for_warp(unsigned mask, WarpOperation operation, std::uint64_t value, int source, const SourcePlace& where) {
  return scheduler->wait_for_warp(mask, operation, value, source, where);
}

int lane() { return scheduler->lane(); }

void run_grid(dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, const std::function<void()>& body) {
  if (!scheduler) scheduler = std::make_unique<Scheduler>();
  const char* order = std::getenv("SO3MD_EMULATION_ORDER");
  const bool reverse = order != nullptr && std::strcmp(order, "reverse") == 0;
  std::vector<double> shared(dynamic_shared_bytes / sizeof(double) + 3);
  auto* aligned = reinterpret_cast<unsigned char*>(shared.data());
  aligned += (16 - reinterpret_cast<std::uintptr_t>(aligned) % 16) % 16;
  place.block_size = block;
  place.grid_size = grid;
  place.dynamic_shared = aligned;
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  try {
    for (std::uint64_t k = 0; k < blocks; ++k) {
      const std::uint64_t number = reverse ? blocks - 1 - k : k;
      place.block = {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                     static_cast<unsigned>(number / grid.x / grid.y)};
      std::memset(aligned, 0xff, dynamic_shared_bytes);
      scheduler->run_block(body, block, reverse);
    }
  } catch (...) {
    scheduler.reset();
    throw;
  }
}

}  // namespace so3md::emulation
