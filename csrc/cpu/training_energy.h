// The energies of atoms and the forces of a group of structures, and the gradient of a function of both: the network between the
// embedding and the energy head (eqs. 13 and 26 of docs/theory.md).
#pragma once

#include "cpu/training_network.h"

namespace SO3MD_CPU_NAMESPACE::training {

using so3md::training::EnergyWeights;

template <class Real>
struct EnergySteps {
  const Weights<Real>* weights;
  const Group<Real>* group;
  std::int64_t atoms, features, hidden;
  ActivationStep<Real> activation;
  DenseStep<Real> dense1, dense2;             ///< the first only if there are hidden values
  void* network;                              ///< memory of NetworkSteps
  Real *start, *out, *by_out, *out_tangents;  ///< (atoms, features): x of the embedding and after the network, dE/dx, x'
  Real *inner, *outer, *by_inner, *by_outer;  ///< (atoms, hidden): before and after the activation
  Real *inner_tangents, *outer_tangents, *by_both;
  Real *raw, *raw_tangents, *scale, *by_raw;  ///< (atoms): energies over the scales of their elements
  Real *by_first, *m;                         ///< (atoms, features): dL/dx of the embedding and after the network
  PairValues<Real> pairs;                     ///< dE/d of what the network is given; then derivatives of that along a direction

  EnergySteps(const Weights<Real>& of, const Group<Real>& given, Room& room)
      : weights(&of),
        group(&given),
        atoms(given.atoms),
        features(of.shape.features),
        hidden(of.energy.hidden),
        activation(of.energy.activation, given.atoms * of.energy.hidden, room),
        dense1(of.energy.dense1, given.atoms),
        dense2(of.energy.dense2, given.atoms) {
    for (Real** const array : {&start, &out, &by_out, &out_tangents, &by_first, &m}) *array = room.take<Real>(atoms * features);
    for (Real** const array : {&inner, &outer, &by_inner, &by_outer, &inner_tangents, &outer_tangents, &by_both})
      *array = room.take<Real>(atoms * hidden);
    for (Real** const array : {&raw, &raw_tangents, &scale, &by_raw}) *array = room.take<Real>(atoms);
    pairs = {room.take<Real>(given.pairs), room.take<Real>(given.pairs), room.take<Real>(given.pairs * of.shape.coordinates)};
    network = room.take<char>(static_cast<std::int64_t>(network_memory<Real>(of, given)));
  }

  void evaluate(Real* energies, Real* forces) {
    const EnergyWeights<Real>& energy = weights->energy;
    for (std::int64_t atom = 0; atom < atoms; ++atom) {
      copy<Real>(features, energy.embedding.value + group->species[atom] * features, start + atom * features);
      scale[atom] = energy.scale.value[group->species[atom]];
    }
    network_forward<Real>(*weights, *group, network, start, out);
    if (hidden > 0) {
      dense1.forward(out, inner);
      activation.forward(inner, outer);
    }
    dense2.forward(hidden > 0 ? outer : out, raw);
    for (std::int64_t atom = 0; atom < atoms; ++atom) energies[atom] = raw[atom] * scale[atom];
    dense2.adjoint(scale, hidden > 0 ? by_outer : by_out);
    if (hidden > 0) {
      activation.adjoint(by_outer, by_inner);
      dense1.adjoint(by_inner, by_out);
    }
    network_adjoint<Real>(network, by_out, pairs);
    add_forces(forces);
  }

  void differentiate(const Real* by_energies, const Real* by_forces, Real* gradients) {
    const EnergyWeights<Real>& energy = weights->energy;
    move_along(by_forces);
    network_tangent<Real>(network, {pairs.distance, pairs.phi, pairs.harmonics}, out_tangents);
    if (hidden > 0) {
      dense1.tangent(out_tangents, inner_tangents);
      activation.tangent(inner_tangents, outer_tangents);
    }
    dense2.tangent(hidden > 0 ? outer_tangents : out_tangents, raw_tangents);
    for (std::int64_t atom = 0; atom < atoms; ++atom) {
      by_raw[atom] = by_energies[atom] * scale[atom];
      gradients[energy.scale.gradient + group->species[atom]] += by_energies[atom] * raw[atom] + raw_tangents[atom];
    }
    dense2.gradient(by_raw, hidden > 0 ? by_both : m, gradients);
    if (hidden > 0) {
      activation.gradient(by_both, by_both);
      dense1.gradient(by_both, m, gradients);
    }
    network_gradient<Real>(network, m, by_first, nullptr, nullptr, gradients);
    for (std::int64_t atom = 0; atom < atoms; ++atom)
      add<Real>(features, by_first + atom * features, gradients + energy.embedding.gradient + group->species[atom] * features);
  }

  /// Forces (atoms, 3) from dE/d of the functions of pairs.
  void add_forces(Real* forces) const {
    const std::int64_t coordinates = weights->shape.coordinates;
    clear<Real>(3 * atoms, forces);
    for (std::int64_t pair = 0; pair < group->pairs; ++pair) {
      const Real along = pairs.distance[pair] + pairs.phi[pair] * group->phi_slope[pair];
      Real slope[3];
      for (int axis = 0; axis < 3; ++axis) slope[axis] = along * group->unit[3 * pair + axis];
      const Real *const by = pairs.harmonics + pair * coordinates, *const turn = group->harmonics_by + 3 * pair * coordinates;
      for (std::int64_t c = 0; c < coordinates; ++c)
        for (int axis = 0; axis < 3; ++axis) slope[axis] += by[c] * turn[3 * c + axis];
      for (int axis = 0; axis < 3; ++axis) {
        forces[3 * group->first[pair] + axis] += slope[axis];
        forces[3 * group->second[pair] + axis] -= slope[axis];
      }
    }
  }

  /// The functions of pairs along dL/dF (atoms, 3), the adjoint of add_forces.
  void move_along(const Real* by_forces) const {
    const std::int64_t coordinates = weights->shape.coordinates;
    for (std::int64_t pair = 0; pair < group->pairs; ++pair) {
      Real direction[3], along = 0;
      for (int axis = 0; axis < 3; ++axis) {
        direction[axis] = by_forces[3 * group->first[pair] + axis] - by_forces[3 * group->second[pair] + axis];
        along += direction[axis] * group->unit[3 * pair + axis];
      }
      pairs.distance[pair] = along;
      pairs.phi[pair] = along * group->phi_slope[pair];
      const Real* const turn = group->harmonics_by + 3 * pair * coordinates;
      for (std::int64_t c = 0; c < coordinates; ++c)
        pairs.harmonics[pair * coordinates + c] =
            direction[0] * turn[3 * c] + direction[1] * turn[3 * c + 1] + direction[2] * turn[3 * c + 2];
    }
  }
};

template <class Real>
std::size_t energy_memory(const Weights<Real>& weights, const Group<Real>& group) {
  return memory_of<EnergySteps<Real>>(weights, group);
}

template <class Real>
void energy_evaluate(const Weights<Real>& weights, const Group<Real>& group, void* memory, Real* energies, Real* forces) {
  begin_steps<EnergySteps<Real>>(weights, group, memory).evaluate(energies, forces);
}

template <class Real>
void energy_differentiate(void* memory, const Real* by_energies, const Real* by_forces, Real* gradients) {
  static_cast<EnergySteps<Real>*>(memory)->differentiate(by_energies, by_forces, gradients);
}

}  // namespace SO3MD_CPU_NAMESPACE::training
