// Which instruction sets this build can use here.
#pragma once

#include <string>
#include <vector>

namespace so3md {

/// Names of the instruction sets that are compiled in and that this processor has, the widest last.
std::vector<std::string> usable_instruction_sets();

}  // namespace so3md
