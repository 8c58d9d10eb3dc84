# find_package(so3md): the target so3md::core, which is all that a program in C or C++ links. docs/library.md
include("${CMAKE_CURRENT_LIST_DIR}/so3md-targets.cmake")
