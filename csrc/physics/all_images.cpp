#include "physics/all_images.h"

#include <type_traits>

namespace so3md {

template <class Real>
AllImages<Real>::AllImages(const EwaldKernels<Real>& kernels, const EwaldSettings& settings, ThreadPool& pool)
    : settings_(settings), sum_(kernels, settings.sigma, settings.accuracy, pool), mesh_(settings.sigma, pool) {
  settings_.single_precision = std::is_same_v<Real, float>;
}

template <class Real>
void AllImages<Real>::evaluate(const EwaldAtoms& atoms, const Cell& cell, double num_atoms, HaloExchange& halo) {
  choose(cell, num_atoms, halo);
  if (plan_.on_mesh)
    mesh_.evaluate(atoms, cell, plan_.mesh, num_atoms, halo);
  else
    sum_.evaluate(atoms, cell, num_atoms, halo);
}

template <class Real>
void AllImages<Real>::choose(const Cell& cell, double num_atoms, HaloExchange& halo) {
  if (num_processes_ == 0.0) {
    num_processes_ = 1.0;
    halo.sum(&num_processes_, 1);
  }
  if (cell_ && *cell_ == cell && num_atoms_ == num_atoms) return;
  cell_ = cell;
  num_atoms_ = num_atoms;
  plan_ = plan_ewald(settings_, cell, num_atoms, num_processes_);
}

template class AllImages<float>;
template class AllImages<double>;

}  // namespace so3md
