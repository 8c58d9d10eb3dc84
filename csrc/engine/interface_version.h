// The version of what crosses the border to the libraries of the GPU kernels (csrc/cuda/interface.h), of this build.
#pragma once

namespace so3md {

const char* interface_version();

}  // namespace so3md
