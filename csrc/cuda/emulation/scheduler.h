// Runs kernels on the host: the threads of a block as fibers, which switch where CUDA's threads wait for one another.
#pragma once

#include <cstddef>
#include <functional>
#include <stdexcept>

#include "cuda/emulation/language.h"

namespace so3md::emulation {

/// A kernel that no GPU would run either, such as a barrier that some threads of the block never reach.
class KernelError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Calls `body` once for every thread of every block. A block's dynamic shared memory starts filled with NaN. Throws KernelError. With the
/// environment variable SO3MD_EMULATION_ORDER=reverse, blocks and threads run in the opposite order, which shows kernels whose results
/// depend on it.
void run_grid(dim3 grid, dim3 block, std::size_t dynamic_shared_bytes, const std::function<void()>& body);

}  // namespace so3md::emulation
