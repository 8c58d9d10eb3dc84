// What a host must offer so that processes can exchange data: a few calls of MPI, whoever makes them.
#pragma once

#include <cstddef>
#include <span>

namespace so3md {

/// Bytes for, or from, another process.
struct Message {
  int process = 0;
  void* data = nullptr;
  std::size_t bytes = 0;
};

/// All calls are collective unless stated. Implementations report failures as exceptions.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual int process() const = 0;        ///< number of this process
  virtual int num_processes() const = 0;  ///< of all

  /// Replaces every value by its sum over all processes; the same bits on each.
  virtual void sum(double* values, int count) = 0;

  /// send[p] goes to process p; received[p] comes from it.
  virtual void transpose(std::span<const int> send, std::span<int> received) = 0;

  /// Starts to exchange messages with some other processes, at most one each way with each; not collective. The data must stay in place
  /// until finish(). One exchange at a time.
  virtual void start(std::span<const Message> sends, std::span<const Message> receives) = 0;
  virtual void finish() = 0;
};

/// A process alone.
class SerialTransport final : public Transport {
 public:
  int process() const override { return 0; }
  int num_processes() const override { return 1; }
  void sum(double*, int) override {}
  void transpose(std::span<const int> send, std::span<int> received) override { received[0] = send[0]; }
  void start(std::span<const Message>, std::span<const Message>) override {}
  void finish() override {}
};

}  // namespace so3md
