// Limits that a container sets: control groups of Linux, versions 1 and 2.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace so3md {

/// The folders of the control groups that this process is in, for a controller such as "cpu" or "memory": its own group first, then those
/// around it, to the outermost that can be seen. `root`: what stands before /proc and /sys, for tests. Version 1 and version 2 may both
/// be there: folders of either are given, with `version` 1 or 2.
void for_cgroups(const std::string& root, const std::string& controller, const std::function<void(const std::string&, int version)>& body);

/// The first line of a file; none if it cannot be read.
std::optional<std::string> first_line(const std::string& path);

/// Cores of time that this process may use in every period (1.5: one and a half); none where there is no limit.
std::optional<double> cpu_quota(const std::string& root = "");

/// Bytes of memory that the control groups leave; none where there is no limit.
std::optional<double> memory_left_in_cgroup(const std::string& root = "");

}  // namespace so3md
