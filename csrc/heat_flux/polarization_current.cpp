#include "heat_flux/polarization_current.h"

#include "common/index.h"
#include "heat_flux/no_cell.h"

namespace so3md {

namespace {

using heat_flux::kMoment;
using heat_flux::kRate;
using heat_flux::kValue;

Vec3 vector(const double* from) { return {from[0], from[1], from[2]}; }

Vec3 difference(const Vec3& a, const Vec3& b) { return {a[0] - b[0], a[1] - b[1], a[2] - b[2]}; }

// Sums over all atoms.
struct Totals {
  double atoms = 0.0;
  double raw_charge = 0.0;
  Vec3 mean{};  // of a vector of each atom
};

template <class Charge, class Vector>
Totals add_up(int n_owned, const Charge& charge, const Vector& vector_of, HaloExchange& halo) {
  double sums[5] = {static_cast<double>(n_owned), 0.0, 0.0, 0.0, 0.0};
  for (int i = 0; i < n_owned; ++i) {
    sums[1] += charge(i);
    const Vec3 v = vector_of(i);
    for (std::size_t k = 0; k < 3; ++k) sums[2 + k] += v[k];
  }
  halo.sum(sums, 5);
  return {sums[0], sums[1], {sums[2] / sums[0], sums[3] / sums[0], sums[4] / sums[0]}};
}

}  // namespace

std::vector<double> polarization_current(HeatFlux& sweep, const Domain& domain, const int* species, const SystemTotals& totals,
                                         const double* velocities, HaloExchange& halo) {
  const Cell& cell = totals.cell != nullptr ? *totals.cell : heat_flux::no_cell();
  const auto velocity = [&](int i) { return vector(velocities + 3 * index_of(i)); };
  const auto place = [&](int i) { return multiply(vector(domain.positions + 3 * index_of(i)), cell.inverse()); };

  // About their mean, so that nothing flows in a structure that moves as a whole.
  const Vec3 drift = add_up(domain.n_owned, [](int) { return 0.0; }, velocity, halo).mean;
  std::vector<double> relative;
  for (int i = 0; i < domain.n_owned; ++i) {
    const Vec3 v = difference(velocity(i), drift);
    relative.insert(relative.end(), v.begin(), v.end());
  }
  sweep.evaluate_charges(domain, species, totals, relative.data(), halo);

  const Totals all = add_up(domain.n_owned, [&](int i) { return sweep.raw_charge(i)[kValue]; }, place, halo);
  std::vector<double> shares;
  for (int i = 0; i < domain.n_owned; ++i) {
    const double* raw = sweep.raw_charge(i);
    Vec3 flow = multiply(vector(raw + kMoment), cell.inverse());
    const Vec3 from_centre = difference(place(i), all.mean);
    for (int k = 0; k < 3; ++k)
      if (!cell.periodic(k)) flow[index_of(k)] = from_centre[index_of(k)] * raw[kRate];
    flow = multiply(flow, cell.vectors());
    const double charge = raw[kValue] + (totals.charge - all.raw_charge) / all.atoms;
    for (std::size_t k = 0; k < 3; ++k) shares.push_back(charge * velocity(i)[k] + flow[k]);
  }
  return shares;
}

}  // namespace so3md
