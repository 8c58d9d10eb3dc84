// What of the machine this process may use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace so3md {

/// More threads than any machine has cores.
constexpr int kMostThreads = 1024;

/// OMP_NUM_THREADS, which users of clusters set for all programs: its first number. None where it is not set or no number above 0.
std::optional<int> threads_in_environment();

/// Cores that this process may run on.
int usable_cores();

/// Threads where nobody gave a number: OMP_NUM_THREADS, else the cores that this process may run on, or the whole cores of time that its
/// container grants, if they are fewer; at least 1.
int default_threads();

/// Throws std::invalid_argument, with a finished message, for a number of threads that nobody can want. 0 stands for the default.
void check_threads(std::int64_t threads);

/// Bytes of memory that this process can still have without the system killing it; none where the system does not tell.
std::optional<double> available_memory();

/// Bytes for people: 3.2 GB.
std::string bytes_text(double bytes);

}  // namespace so3md
