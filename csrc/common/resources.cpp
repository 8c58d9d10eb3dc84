#include "common/resources.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "common/cgroup.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace so3md {

std::optional<int> threads_in_environment() {
  const char* text = std::getenv("OMP_NUM_THREADS");  // a list has one number for each level of nesting
  if (text == nullptr) return std::nullopt;
  char* end = nullptr;
  const long threads = std::strtol(text, &end, 10);
  while (*end == ' ') ++end;
  if (end == text || (*end != '\0' && *end != ',') || threads < 1) return std::nullopt;
  return static_cast<int>(std::min<long>(threads, kMostThreads));
}

int usable_cores() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

int default_threads() {
  if (const auto threads = threads_in_environment()) return *threads;
  const int cores = usable_cores();
  // A part of a core is not used: threads that use up the grant all stop until the next period.
  if (const auto quota = cpu_quota()) return std::clamp(static_cast<int>(std::min(*quota, double{kMostThreads})), 1, cores);
  return cores;
}

void check_threads(std::int64_t threads) {
  if (threads < 0 || threads > kMostThreads)
    throw std::invalid_argument("the number of threads is " + std::to_string(threads) + ": expected 1 to " + std::to_string(kMostThreads) +
                                ", or 0 for all cores");
}

std::optional<double> available_memory() {
  std::optional<double> available = memory_left_in_cgroup();
  std::ifstream memory("/proc/meminfo");
  for (std::string line; std::getline(memory, line);) {
    std::istringstream words(line);
    std::string name;
    double kilobytes = 0;
    if (words >> name >> kilobytes && name == "MemAvailable:")
      available = std::min(available.value_or(1024.0 * kilobytes), 1024.0 * kilobytes);
  }
  return available;
}

std::string bytes_text(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  std::size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < std::size(units)) {
    bytes /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%.3g %s", bytes, units[unit]);
  return text;
}

}  // namespace so3md
