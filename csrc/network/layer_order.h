// The order of the layers, forward and adjoint, and when rows of atoms go to other processes: written once for all networks, on the CPU and
// on GPUs. A network computes the steps; it names this struct a friend.
#pragma once

#include <vector>

#include "halo/halo_exchange.h"
#include "network/any_network.h"

namespace so3md {

/// What a network brings, for a layer and what `step(layer)` makes of it once:
///
/// - project_own, project_received: queries, keys and values of owned atoms, and of those that came from other processes (eq. 18);
/// - attend_interior, attend_boundary: attention of the atoms that need nothing of other processes, and of the rest (eq. 19 to 22);
/// - node_forward: all else of the layer, atom by atom (eq. 23 to 25);
/// - the same with `_adjoint`. What one of them has no need of is empty there, as is the first where the second does all atoms.
///
/// `..._rows` are what other processes need next. Where chi does not start at zero (has_initial_coordinates), it is made
/// before the first layer (eq. 53).
struct LayerOrder {
  template <class Network, class Halo, class Timer>
  static void forward(Network& network, Halo& halo, Timer& timer, std::vector<LayerFeatures>* features) {
    if (network.has_initial_coordinates()) {
      network.initial_forward();
      timer.lap("first layer");
      exchange(network.initial_rows(), halo, timer);
    }
    const int layers = network.num_layers();
    for (int layer = 0; layer < layers; ++layer) {
      const auto step = network.step(layer);
      const char* stage = network.is_by_species(layer) ? "first layer" : "attention";
      network.project_own(layer, step);
      timer.lap("node products");
      network.attend_interior(step);
      timer.lap(stage);
      if (layer > 0) halo.finish();
      timer.lap("exchange");
      network.project_received(layer, step);
      timer.lap("node products");
      network.attend_boundary(layer, step, halo, timer);
      timer.lap(stage);
      network.node_forward(step);
      if (features != nullptr) network.record(layer, features->emplace_back());
      timer.lap("node products");
      if (layer + 1 == layers) break;
      const auto rows = network.forward_rows(step);
      halo.start(Reach::near, rows);
      timer.lap("exchange");
    }
  }

  /// From gradients on the features of the last layer to forces and virials, which are those of the network's adjoint_step().
  template <class Network, class Halo, class Timer>
  static void adjoint(Network& network, Halo& halo, Timer& timer) {
    for (int layer = network.num_layers() - 1; layer >= 0; --layer) {
      auto step = network.adjoint_step(layer);
      const char* stage = network.is_by_species(layer) ? "first layer" : "attention adjoint";
      network.node_adjoint(step);
      timer.lap("node products");
      const auto rows = network.adjoint_rows(step);
      halo.start(Reach::near, rows);
      timer.lap("exchange");
      network.project_again(step);
      timer.lap("node products");
      network.attend_interior_adjoint(step);
      timer.lap(stage);
      halo.finish();
      timer.lap("exchange");
      network.attend_boundary_adjoint(layer, step, halo, timer);
      timer.lap(stage);
      network.project_adjoint(step);
      timer.lap("node products");
    }
    if (!network.has_initial_coordinates()) return;
    exchange(network.initial_adjoint_rows(), halo, timer);
    network.initial_adjoint();
    timer.lap("first layer");
  }

 private:
  template <class Rows, class Halo, class Timer>
  static void exchange(const Rows& rows, Halo& halo, Timer& timer) {
    halo.start(Reach::near, rows);
    halo.finish();
    timer.lap("exchange");
  }
};

}  // namespace so3md
