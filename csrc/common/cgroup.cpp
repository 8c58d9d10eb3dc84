#include "common/cgroup.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace so3md {

namespace {

// The number at the beginning of a line; none for "max" and for what is no number.
std::optional<double> number_of(const std::optional<std::string>& line) {
  if (!line) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(line->c_str(), &end);
  if (end == line->c_str()) return std::nullopt;
  return value;
}

bool lists(const std::string& controllers, const std::string& wanted) {
  std::istringstream words(controllers);
  for (std::string word; std::getline(words, word, ',');)
    if (word == wanted) return true;
  return false;
}

// The folder of a group and of all around it. A container often sees its own group as the outermost one, under another name than
// /proc tells: folders that are not there are simply passed over.
void climb(const std::string& mount, std::string group, int version, const std::function<void(const std::string&, int)>& body) {
  while (!group.empty() && group.back() == '/') group.pop_back();
  for (;;) {
    body(mount + group, version);
    if (group.empty()) return;
    group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
  }
}

void keep_smallest(std::optional<double>& smallest, double value) { smallest = std::min(smallest.value_or(value), value); }

}  // namespace

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!file || !std::getline(file, line)) return std::nullopt;
  return line;
}

void for_cgroups(const std::string& root, const std::string& controller, const std::function<void(const std::string&, int)>& body) {
  std::ifstream groups(root + "/proc/self/cgroup");  // lines of number:controllers:group
  for (std::string line; std::getline(groups, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    if (controllers.empty()) {
      climb(root + "/sys/fs/cgroup", group, 2, body);
    } else if (lists(controllers, controller)) {
      climb(root + "/sys/fs/cgroup/" + controllers, group, 1, body);
      if (controllers != controller) climb(root + "/sys/fs/cgroup/" + controller, group, 1, body);
    }
  }
}

std::optional<double> cpu_quota(const std::string& root) {
  std::optional<double> smallest;
  for_cgroups(root, "cpu", [&](const std::string& folder, int version) {
    std::optional<double> quota, period;
    if (version == 2) {
      const auto line = first_line(folder + "/cpu.max");  // "max 100000" or "150000 100000"
      quota = number_of(line);
      if (quota) period = number_of(line->substr(std::min(line->find(' '), line->size())));
    } else {
      quota = number_of(first_line(folder + "/cpu.cfs_quota_us"));  // -1: no limit
      period = number_of(first_line(folder + "/cpu.cfs_period_us"));
    }
    if (quota && period && *quota > 0 && *period > 0) keep_smallest(smallest, *quota / *period);
  });
  return smallest;
}

std::optional<double> memory_left_in_cgroup(const std::string& root) {
  std::optional<double> smallest;
  for_cgroups(root, "memory", [&](const std::string& folder, int version) {
    const auto limit = number_of(first_line(folder + (version == 2 ? "/memory.max" : "/memory.limit_in_bytes")));
    const auto used = number_of(first_line(folder + (version == 2 ? "/memory.current" : "/memory.usage_in_bytes")));
    constexpr double kNoLimit = 1e18;  // version 1 writes a number near 2^63
    if (!limit || !used || *limit > kNoLimit) return;
    // Files that the system keeps in memory count as used, and make room when it is wanted.
    double cached = 0;
    std::ifstream statistics(folder + "/memory.stat");
    for (std::string line; std::getline(statistics, line);) {
      std::istringstream words(line);
      std::string name;
      double bytes = 0;
      if (words >> name >> bytes && name == (version == 2 ? "inactive_file" : "total_inactive_file")) cached = bytes;
    }
    keep_smallest(smallest, std::max(0.0, *limit - *used + cached));
  });
  return smallest;
}

}  // namespace so3md
