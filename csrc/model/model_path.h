// Where a model that is given by name lies.
#pragma once

#include <string>

namespace so3md {

/// Path of the file that a name or a path stands for. Names are looked up in the directories of the environment variable SO3MD_MODEL_PATH
/// (separated by colons), then in that of the Python package, or of the installed tree, that this library is part of. As in Python, the
/// name of a model wins over a file of the same name; write ./NAME for the file. Throws std::runtime_error, saying where it looked, if
/// there is none.
std::string find_model(const std::string& name_or_path);

}  // namespace so3md
