// Messages between the processes of one LAMMPS world.
#pragma once

#include <mpi.h>

#include <vector>

#include "halo/transport.h"

namespace so3md {

/// Whether messages may lie in the memory of a GPU: what the MPI library says of itself, where it can, and before that the environment
/// variable SO3MD_CUDA_MPI (0 or 1).
bool mpi_takes_device_memory();

class MpiTransport final : public Transport {
 public:
  /// `world`: communicator of the partition, which must live longer.
  explicit MpiTransport(MPI_Comm world);

  int process() const override { return process_; }
  int num_processes() const override { return num_processes_; }
  void sum(double* values, int count) override;
  void transpose(std::span<const int> send, std::span<int> received) override;
  void start(std::span<const Message> sends, std::span<const Message> receives) override;
  void finish() override;

 private:
  MPI_Comm world_;
  int process_ = 0;
  int num_processes_ = 1;
  std::vector<MPI_Request> requests_;
};

}  // namespace so3md
