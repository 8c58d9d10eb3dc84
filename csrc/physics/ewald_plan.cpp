#include "physics/ewald_plan.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "common/number_text.h"
#include "physics/wave_vectors.h"

namespace so3md {

namespace {

// Of wave vectors, at 112 bytes in single precision: a cell of 450 A. Of points, at 28 bytes: a cell of 1000 A.
constexpr double kMostEntries = 4e6, kMostPoints = 5e8;

// Times in microseconds, measured by benchmarks/ewald.py. Their ratios decide, which differ between processors by less than sizes do.
constexpr double kEntryAndAtom = 1.3e-3, kEntryAndAtomSingle = 5e-4, kEntry = 0.05;
constexpr double kAtom = 0.25, kSplinePoint = 1.5e-3, kPoint = 2e-3;

double num_entries(const EwaldSettings& settings, const Cell& cell, double num_atoms) {
  const double volume = cell.volume();
  return estimate_entries(volume, longest_wave_vector(num_atoms / volume, settings.sigma, settings.accuracy));
}

double mesh_time(double order, double points, double own_atoms) {
  return own_atoms * (kAtom + kSplinePoint * order * order * order) + kPoint * points * std::log2(std::max(2.0, points));
}

// The mesh with the splines that take the least time.
EwaldPlan plan_mesh(const EwaldSettings& settings, const Cell& cell, double num_atoms, double own_atoms) {
  EwaldPlan best;
  for (const int order : kSplineOrders) {
    const MeshSize size = choose_mesh_size(cell, num_atoms / cell.volume(), settings.sigma, settings.accuracy, order);
    const double time = mesh_time(order, size.num_points(), own_atoms);
    if (!best.on_mesh || time < best.microseconds) best = {true, size, time};
  }
  return best;
}

}  // namespace

EwaldPlan plan_ewald(const EwaldSettings& settings, const Cell& cell, double num_atoms, double num_processes) {
  const double entries = num_entries(settings, cell, num_atoms), own_atoms = num_atoms / num_processes;
  EwaldPlan sum;
  sum.microseconds = entries * (kEntry + own_atoms * (settings.single_precision ? kEntryAndAtomSingle : kEntryAndAtom));
  // Also what to choose from takes some time, in which a small system is summed.
  const bool small = sum.microseconds < mesh_time(kSplineOrders.front(), 1.0, own_atoms);
  if (settings.method == EwaldMethod::sum || (settings.method == EwaldMethod::automatic && small)) return sum;
  const EwaldPlan mesh = plan_mesh(settings, cell, num_atoms, own_atoms);
  const bool faster = mesh.microseconds < sum.microseconds || entries > kMostEntries;
  return settings.method == EwaldMethod::mesh || faster ? mesh : sum;
}

void check_ewald_cell(const EwaldSettings& settings, const Cell& cell, double num_atoms) {
  int directions = 0;
  for (int k = 0; k < 3; ++k) directions += cell.periodic(k) ? 1 : 0;
  if (directions == 0)
    throw std::invalid_argument(
        "coulomb 'ewald' is for systems that are periodic in all three directions, and this one is a molecule: use coulomb 'cutoff' with "
        "no "
        "long-range cutoff, which leaves nothing out either");
  if (directions < 3)
    throw std::invalid_argument("coulomb 'ewald' is for systems that are periodic in all three directions, and this one is periodic in " +
                                std::to_string(directions) +
                                ": use coulomb 'cutoff', or make all directions periodic with enough vacuum between the images");
  const EwaldPlan plan = plan_ewald(settings, cell, num_atoms, 1.0);
  const double entries = num_entries(settings, cell, num_atoms), points = plan.mesh.num_points();
  if (plan.on_mesh ? points <= kMostPoints : entries <= kMostEntries) return;
  throw std::invalid_argument("the cell has a volume of " + number_text(cell.volume()) + " A^3, for which coulomb 'ewald' would need " +
                              (plan.on_mesh
                                   ? number_text(1e-6 * points) + " million points of a mesh, and " + number_text(1e-6 * kMostPoints)
                                   : number_text(4e-6 * entries) + " million wave vectors, and " + number_text(4e-6 * kMostEntries)) +
                              " million are the most: use a smaller cell" +
                              (plan.on_mesh ? "" : ", ewald_method 'mesh' on the CPU, or coulomb kspace with pppm in LAMMPS"));
}

}  // namespace so3md
