// Starts the kernels of the attention, in the variant that fits the model.
#pragma once

#include "cuda/network/attention_tile.h"

namespace so3md::cuda {

enum class AttentionKernel { forward, adjoint, first_forward, first_adjoint, initial_forward, initial_adjoint };

/// Throws ModelError, naming the option, if one warp's edges do not fit into the shared memory of a block.
template <class Real>
void check_attention(const NetworkLayout& layout);

template <class Real>
void run_attention(const Stream& stream, AttentionKernel kernel, AttentionStep<Real> step);

}  // namespace so3md::cuda
