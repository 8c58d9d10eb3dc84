// chi before the first layer, in models where it does not start at zero: scale sum_j phi_ij Y(u_ij) (eq. 53 of docs/theory.md), and back.
#pragma once

#include "cuda/network/attention_adjoint.h"

namespace so3md::cuda {

/// Sets chi_attended. The step has no filters.
template <class Real>
__global__ void __launch_bounds__(kMostWarps* kWarp) initial_forward(AttentionStep<Real> s) {
  for_my_centres<Real, false>(s, false, [&](const TileMemory<Real>& memory, const Real* none, int centre) {
    ForwardTile<Real, 1, false> tile(s, memory, none, static_cast<int>(threadIdx.x) % kWarp);
    tile.clear();
    for_tiles<false, false>(tile, centre, [&] {
      for (int index = tile.quarter(); index < s.layout.num_degrees; index += kQuarters)
        memory.own_beta[index * kTile + tile.edge()] = static_cast<Real>(s.layout.initial_scale) * memory.cutoff[tile.edge()];
      tile.add_harmonics();
    });
#pragma unroll
    for (int k = 0; k < kCoordinatesPerLane; ++k) {
      const int c = k * kWarp + tile.lane;
      if (c < s.layout.num_coordinates) s.chi_attended[static_cast<std::int64_t>(centre) * s.layout.chi_stride + c] = tile.coordinates[k];
    }
  });
}

template <class Real>
struct InitialTile : AdjointTile<Real, 1, false> {
  using Base = AdjointTile<Real, 1, false>;
  using Base::Base;
  using Base::s, Base::m;

  __device__ void run() {
    const Real scale = static_cast<Real>(s.layout.initial_scale);
    const int e = Base::edge();
    Base::coordinate_products();
    Real along = Real(0);
    for (int index = Base::quarter(); index < s.layout.num_degrees; index += kQuarters) {
      const Real weight = scale * m.cutoff[e];
      Base::set_beta(index, e, {weight, weight});
      along += m.own_product[index * kTile + e] + m.other_product[index * kTile + e];
    }
    Base::add_force_without_filters(sum_lanes<kQuarters>(along) * scale * m.cutoff_derivative[e]);
  }
};

/// From gradients of what initial_forward set, in gradient_chi_attended of all slots, to forces.
template <class Real>
__global__ void __launch_bounds__(kMostWarps* kWarp) initial_adjoint(AttentionStep<Real> s) {
  for_my_centres<Real, false>(s, true, [&](const TileMemory<Real>& memory, const Real* none, int centre) {
    InitialTile<Real> tile(s, memory, none, static_cast<int>(threadIdx.x) % kWarp);
    for_tiles<true, false>(tile, centre, [&] { tile.run(); });
    tile.store(centre);
  });
}

}  // namespace so3md::cuda
