// Electrostatics of all periodic images on a mesh (U. Essmann et al., J. Chem. Phys. 103, 8577 (1995); docs/theory.md, section 11).
#pragma once

#include <array>
#include <complex>
#include <optional>
#include <vector>

#include "common/thread_pool.h"
#include "geometry/cell.h"
#include "halo/halo_exchange.h"
#include "physics/ewald_atoms.h"
#include "physics/fourier_mesh.h"
#include "physics/mesh_size.h"

namespace so3md {

/// In double precision, whatever that of the model.
class EwaldMesh {
 public:
  EwaldMesh(double sigma, ThreadPool& pool) : sigma_(sigma), pool_(pool), fourier_(pool) {}

  /// As EwaldSum::evaluate(): `num_atoms` on all processes, of which each adds to the mesh and then transforms all of it.
  void evaluate(const EwaldAtoms& atoms, const Cell& cell, const MeshSize& size, double num_atoms, HaloExchange& halo);

 private:
  using Complex = std::complex<double>;
  using Strain = std::array<double, 6>;  // xx, yy, zz, xy, xz, yz

  void prepare(const Cell& cell, const MeshSize& size);
  template <class Body>
  void for_rows(const Body& body) const;
  void set_weights();
  void set_row_weights(int i, int j, double* weights) const;
  Vec3 wave(int i, int j, int k) const;
  double strain_factor(const Vec3& wave, std::size_t component) const;

  void place(const EwaldAtoms& atoms);
  void sort_by_plane();
  void spread(const EwaldAtoms& atoms);
  template <int order>
  void fill_plane(const EwaldAtoms& atoms, int plane, std::vector<double>& buffer);
  void multiply_by_weights();
  Strain virial_of_waves() const;

  template <int order>
  void gather(const EwaldAtoms& atoms, int begin, int end) const;
  template <int order>
  double interpolate(int atom) const;
  void add_atomic_virials(const EwaldAtoms& atoms);
  void add_mean_virial(const EwaldAtoms& atoms, double num_atoms) const;

  double sigma_;
  ThreadPool& pool_;
  FourierMesh fourier_;
  std::optional<Cell> cell_;  // of the weights
  MeshSize size_;
  std::array<std::vector<double>, 3> corrections_;  // for what splines do to a wave, by its number along a direction
  std::vector<double> weights_;                     // 4 pi k_e/V g(k), with the corrections, by wave

  // Of the atoms of this process: the point at or before each, how far it lies beyond that, and weights of points.
  std::vector<int> base_;         // [n][3]
  std::vector<double> fraction_;  // [n][3]
  std::vector<double> splines_;   // [n][3][order]
  std::vector<int> first_in_plane_, by_plane_;

  std::vector<double> mesh_;  // charges, then potentials
  std::vector<Complex> charges_, product_;
};

}  // namespace so3md
