#include "mpi_transport.h"

#include <dlfcn.h>

#include <climits>
#include <stdexcept>
#include <string>

#include "common/environment.h"

namespace so3md {

namespace {

// Sets these messages apart from those of LAMMPS, which uses small tags on the same communicator. A communicator of our own would have
// to be freed by all processes together, which cannot be had after an error.
constexpr int kTag = 20873;

int count_of(const Message& message) {
  if (message.bytes > INT_MAX)
    throw std::length_error("a message to process " + std::to_string(message.process) + " has " + std::to_string(message.bytes) +
                            " bytes, and MPI takes at most " + std::to_string(INT_MAX) + ": use more processes");
  return static_cast<int>(message.bytes);
}

}  // namespace

// The question is an extension that Open MPI and MPICH have and others lack: it is looked for in the program, not linked.
bool mpi_takes_device_memory() {
  if (const auto given = environment_switch("SO3MD_CUDA_MPI")) return *given;
  const auto ask = reinterpret_cast<int (*)()>(dlsym(RTLD_DEFAULT, "MPIX_Query_cuda_support"));
  return ask != nullptr && ask() == 1;
}

MpiTransport::MpiTransport(MPI_Comm world) : world_(world) {
  MPI_Comm_rank(world, &process_);
  MPI_Comm_size(world, &num_processes_);
}

void MpiTransport::sum(double* values, int count) {
  if (num_processes_ > 1) MPI_Allreduce(MPI_IN_PLACE, values, count, MPI_DOUBLE, MPI_SUM, world_);
}

void MpiTransport::transpose(std::span<const int> send, std::span<int> received) {
  MPI_Alltoall(send.data(), 1, MPI_INT, received.data(), 1, MPI_INT, world_);
}

void MpiTransport::start(std::span<const Message> sends, std::span<const Message> receives) {
  requests_.clear();
  for (const Message& message : receives)
    MPI_Irecv(message.data, count_of(message), MPI_BYTE, message.process, kTag, world_, &requests_.emplace_back());
  for (const Message& message : sends)
    MPI_Isend(message.data, count_of(message), MPI_BYTE, message.process, kTag, world_, &requests_.emplace_back());
}

void MpiTransport::finish() { MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE); }

}  // namespace so3md
