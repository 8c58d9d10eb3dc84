// Which instruction sets this build can use here.
#pragma once

#include <string>
#include <vector>

namespace so3md {

/// Names of the instruction sets that are compiled in and that this processor has, the widest last.
std::vector<std::string> usable_instruction_sets();

/// Names of all that are compiled in, whatever the processor has, the widest last.
std::vector<std::string> built_instruction_sets();

/// Names of all that kernels can be compiled for and that this processor has, whether or not this build has them, the widest last.
std::vector<std::string> processor_instruction_sets();

/// The one that engines use: the widest usable one, or that of SO3MD_INSTRUCTION_SET. Throws std::runtime_error if that one is not usable.
std::string chosen_instruction_set();

}  // namespace so3md
