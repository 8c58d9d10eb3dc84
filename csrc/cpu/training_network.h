// All layers for a group of structures in the four sweeps of a training step.
#pragma once

#include "cpu/training_layers.h"

namespace SO3MD_CPU_NAMESPACE::training {

/// Stands at the beginning of the memory of a group.
template <class Real>
struct NetworkSteps {
  const Weights<Real>* weights;
  const Group<Real>* group;
  PairState<Real> pairs;
  NormStep<Real> final_norm;
  Real *start, *start_tangents;      ///< the first chi and its derivative, (atoms, coordinates)
  Real *by_end, *m, *m_chi, *zeros;  ///< of atoms: dE/dx of the last layer; dL/dx, dL/d(chi); zeros for dE/d(chi) of the last layer
  LayerStep<Real>* layers;

  /// Puts the layers into the room, too. Without memory none are made.
  NetworkSteps(const Weights<Real>& of, const Group<Real>& atoms, Room& room)
      : weights(&of),
        group(&atoms),
        pairs(of.shape, atoms.pairs, room),
        final_norm(of.final_norm, of.shape.final_norm ? atoms.atoms : 0, of.shape.features, of.shape.norm_epsilon, room) {
    const Shape& shape = of.shape;
    const std::int64_t coordinates = atoms.atoms * shape.coordinates;
    start = room.take<Real>(coordinates);
    start_tangents = room.take<Real>(coordinates);
    m = room.take<Real>(atoms.atoms * shape.features);
    by_end = room.take<Real>(atoms.atoms * shape.features);
    m_chi = room.take<Real>(coordinates);
    zeros = room.take<Real>(coordinates);
    layers = room.take<LayerStep<Real>>(shape.layers);
    const FilterSpare<Real> filter_spare(shape, room);
    const SweepSpare<Real> spare(shape, atoms, room);
    for (std::int64_t t = 0; t < shape.layers; ++t) {
      const LayerStep<Real> layer(shape, of.layers[t], atoms, pairs, filter_spare, spare, t > 0, t > 0 || shape.neighbour_sum, room);
      if (layers != nullptr) __builtin_memcpy(static_cast<void*>(layers + t), &layer, sizeof(layer));
    }
  }

  const Real* first_chi(const Real* values) const { return weights->shape.neighbour_sum ? values : nullptr; }

  void forward(const Real* x, Real* out) {
    const Shape& shape = weights->shape;
    for (std::int64_t pair = 0; pair < group->pairs; ++pair) {
      pairs.factor[pair] = group->phi[pair] * static_cast<Real>(shape.score_factor);
      for (std::int64_t c = 0; c < shape.coordinates; ++c)
        pairs.phi_harmonics[pair * shape.coordinates + c] = group->phi[pair] * group->harmonics[pair * shape.coordinates + c];
    }
    if (shape.neighbour_sum) sum_harmonics(pairs.phi_harmonics, start);
    const Real* chi = first_chi(start);
    for (std::int64_t t = 0; t < shape.layers; ++t) {
      x = layers[t].forward(x, chi);
      chi = layers[t].chi_out;
    }
    if (shape.final_norm)
      final_norm.forward(x, out);
    else
      copy<Real>(group->atoms * shape.features, x, out);
  }

  void adjoint(const Real* given, const PairValues<Real>& result) {
    const Shape& shape = weights->shape;
    const std::int64_t coordinates = shape.coordinates;
    clear<Real>(group->pairs * coordinates, pairs.by_phi_harmonics);
    clear<Real>(group->pairs, pairs.by_phi);
    clear<Real>(group->pairs, pairs.by_distance);
    clear<Real>(group->atoms * coordinates, zeros);
    copy<Real>(group->atoms * shape.features, given, by_end);  // what is given may be gone when the last sweep comes
    const Real *by_x = shape.final_norm ? final_norm.adjoint(by_end) : by_end, *by_chi = zeros;
    for (std::int64_t t = shape.layers - 1; t >= 0; --t) {
      layers[t].adjoint(by_x, by_chi);
      by_x = layers[t].by_x;
      by_chi = layers[t].by_chi;
    }
    if (shape.neighbour_sum) add_start_adjoint(by_chi);
    for (std::int64_t pair = 0; pair < group->pairs; ++pair) {
      Real by_phi = pairs.by_phi[pair];
      for (std::int64_t e = pair * coordinates; e < (pair + 1) * coordinates; ++e) {
        by_phi += pairs.by_phi_harmonics[e] * group->harmonics[e];
        result.harmonics[e] = pairs.by_phi_harmonics[e] * group->phi[pair];
      }
      result.phi[pair] = by_phi;
      result.distance[pair] = pairs.by_distance[pair];
    }
  }

  void tangent(const PairValues<const Real>& direction, Real* out) {
    const Shape& shape = weights->shape;
    for (std::int64_t pair = 0; pair < group->pairs; ++pair) {
      pairs.factor_tangents[pair] = direction.phi[pair] * static_cast<Real>(shape.score_factor);
      for (std::int64_t e = pair * shape.coordinates; e < (pair + 1) * shape.coordinates; ++e)
        pairs.phi_harmonics_tangents[e] = direction.harmonics[e] * group->phi[pair] + group->harmonics[e] * direction.phi[pair];
    }
    if (shape.neighbour_sum) sum_harmonics(pairs.phi_harmonics_tangents, start_tangents);
    const Real *x = nullptr, *chi = first_chi(start_tangents);
    for (std::int64_t t = 0; t < shape.layers; ++t) {
      x = layers[t].tangent(x, chi, direction.distance);
      chi = layers[t].chi_tangents;
    }
    if (shape.final_norm)
      final_norm.tangent(x, out);
    else
      copy<Real>(group->atoms * shape.features, x, out);
  }

  void gradient(const Real* by_out, Real* by_x, Real* by_basis, Real* by_basis_slope, Real* gradients) {
    const Shape& shape = weights->shape;
    if (shape.final_norm)
      final_norm.gradient(by_out, m, gradients);
    else
      copy<Real>(group->atoms * shape.features, by_out, m);
    clear<Real>(group->atoms * shape.coordinates, m_chi);
    for (std::int64_t t = shape.layers - 1; t >= 0; --t) layers[t].gradient(m, m_chi, by_basis, by_basis_slope, gradients);
    copy<Real>(group->atoms * shape.features, m, by_x);
  }

  /// The first chi, from values of pairs (pairs, coordinates).
  void sum_harmonics(const Real* values, Real* to) const {
    const Shape& shape = weights->shape;
    clear<Real>(group->atoms * shape.coordinates, to);
    const Real factor = static_cast<Real>(shape.start_factor);
    for_directions<Real>(*group, [&](std::int64_t pair, std::int64_t direction, std::int64_t centre) {
      for (std::int64_t c = 0; c < shape.coordinates; ++c) {
        const Real sign = direction ? static_cast<Real>(shape.sign[c]) : Real(1);
        to[centre * shape.coordinates + c] += factor * sign * values[pair * shape.coordinates + c];
      }
    });
  }

  void add_start_adjoint(const Real* by_chi) const {
    const Shape& shape = weights->shape;
    const Real factor = static_cast<Real>(shape.start_factor);
    for_directions<Real>(*group, [&](std::int64_t pair, std::int64_t direction, std::int64_t centre) {
      for (std::int64_t c = 0; c < shape.coordinates; ++c) {
        const Real sign = direction ? static_cast<Real>(shape.sign[c]) : Real(1);
        pairs.by_phi_harmonics[pair * shape.coordinates + c] += factor * sign * by_chi[centre * shape.coordinates + c];
      }
    });
  }
};

/// Bytes of steps of a kind and of what they keep.
template <class Steps, class Real>
std::size_t memory_of(const Weights<Real>& weights, const Group<Real>& group) {
  Room room;
  room.take<Steps>(1);
  const Steps steps(weights, group, room);
  static_cast<void>(steps);
  return room.used;
}

/// Puts steps at the beginning of their memory.
template <class Steps, class Real>
Steps& begin_steps(const Weights<Real>& weights, const Group<Real>& group, void* memory) {
  Room room{static_cast<char*>(memory)};
  room.take<Steps>(1);
  const Steps steps(weights, group, room);
  __builtin_memcpy(memory, &steps, sizeof(steps));
  return *static_cast<Steps*>(memory);
}

template <class Real>
NetworkSteps<Real>& steps_in(void* memory) {
  return *static_cast<NetworkSteps<Real>*>(memory);
}

template <class Real>
std::size_t network_memory(const Weights<Real>& weights, const Group<Real>& group) {
  return memory_of<NetworkSteps<Real>>(weights, group);
}

template <class Real>
void network_forward(const Weights<Real>& weights, const Group<Real>& group, void* memory, const Real* x, Real* out) {
  begin_steps<NetworkSteps<Real>>(weights, group, memory).forward(x, out);
}

template <class Real>
void network_adjoint(void* memory, const Real* by_out, const PairValues<Real>& result) {
  steps_in<Real>(memory).adjoint(by_out, result);
}

template <class Real>
void network_tangent(void* memory, const PairValues<const Real>& direction, Real* out) {
  steps_in<Real>(memory).tangent(direction, out);
}

template <class Real>
void network_gradient(void* memory, const Real* by_out, Real* by_x, Real* by_basis, Real* by_basis_slope, Real* gradients) {
  steps_in<Real>(memory).gradient(by_out, by_x, by_basis, by_basis_slope, gradients);
}

}  // namespace SO3MD_CPU_NAMESPACE::training
