// How electrostatics of all periodic images are summed: by waves and atoms, or on a mesh.
#pragma once

#include "geometry/cell.h"
#include "physics/mesh_size.h"

namespace so3md {

enum class EwaldMethod {
  automatic,  ///< what takes less time
  sum,        ///< over waves and atoms
  mesh        ///< a particle mesh, by Fourier transforms
};

struct EwaldSettings {
  double sigma = 0.0;     ///< by which charges are smeared, A
  double accuracy = 0.0;  ///< of forces, eV/A, see ewald_force_error() and mesh_force_error()
  EwaldMethod method = EwaldMethod::automatic;
  bool single_precision = false;  ///< of a sum over waves, which takes half the time then
};

struct EwaldPlan {
  bool on_mesh = false;
  MeshSize mesh;              ///< if so
  double microseconds = 0.0;  ///< about, of one core of each process
};

/// Of a cell that is periodic in all directions, with so many atoms on so many processes. The same on all of them.
EwaldPlan plan_ewald(const EwaldSettings& settings, const Cell& cell, double num_atoms, double num_processes);

/// Throws std::invalid_argument with a finished message for a system that is not periodic in all directions, or so large that it would
/// take more waves, or points of a mesh, than there is memory for.
void check_ewald_cell(const EwaldSettings& settings, const Cell& cell, double num_atoms);

}  // namespace so3md
