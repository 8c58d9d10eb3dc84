#include "heat_flux/charge_shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "heat_flux/kernels.h"
#include "heat_flux/no_cell.h"

namespace so3md::heat_flux {

namespace {

// Fractional coordinates of a position; within the cell, along periodic directions.
Vec3 fractional(const Cell& cell, const double* position) {
  Vec3 f = multiply({position[0], position[1], position[2]}, cell.inverse());
  for (int k = 0; k < 3; ++k)
    if (cell.periodic(k)) f[static_cast<std::size_t>(k)] -= std::floor(f[static_cast<std::size_t>(k)]);
  return f;
}

}  // namespace

ChargeShares::ChargeShares(int n_owned, const double* positions, const double* raw, const Cell* cell, HaloExchange& halo)
    : cell_(cell != nullptr ? *cell : no_cell()) {
  constexpr std::size_t width = 4;  // fractional coordinates, rate
  std::vector<double> own(width * static_cast<std::size_t>(n_owned));
  for (int i = 0; i < n_owned; ++i) {
    const double* parts = raw + kParts * static_cast<std::ptrdiff_t>(i);
    const Vec3 f = fractional(cell_, positions + 3 * static_cast<std::ptrdiff_t>(i));
    double* row = own.data() + width * static_cast<std::size_t>(i);
    std::copy(f.begin(), f.end(), row);
    row[3] = parts[kRate];
    for (std::size_t k = 0; k < 3; ++k) {
      moment_[k] += parts[kMoment + static_cast<int>(k)];
      place_[k] += f[k] * parts[kRate];
    }
    rate_ += parts[kRate];
  }
  double sums[7] = {rate_, moment_[0], moment_[1], moment_[2], place_[0], place_[1], place_[2]};
  halo.sum(sums, 7);
  rate_ = sums[0];
  std::copy_n(sums + 1, 3, moment_.begin());
  std::copy_n(sums + 4, 3, place_.begin());
  if (!cell_.any_periodic()) return;
  const auto total = static_cast<std::size_t>(halo.all_rows(n_owned).total);
  std::vector<double> all(width * total), coordinates(total), rates(total);
  halo.gather(n_owned, Rows<const double>{own.data(), width, width}, all.data());
  for (std::size_t j = 0; j < total; ++j) rates[j] = all[width * j + 3];
  for (int k = 0; k < 3; ++k) {
    if (!cell_.periodic(k)) continue;
    for (std::size_t j = 0; j < total; ++j) coordinates[j] = all[width * j + static_cast<std::size_t>(k)];
    sort(k, coordinates, rates);
  }
}

void ChargeShares::sort(int k, const std::vector<double>& coordinates, const std::vector<double>& rates) {
  std::vector<std::size_t> order(coordinates.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return coordinates[a] < coordinates[b]; });
  sums_[k].assign(1, 0.0);
  for (std::size_t j : order) {
    sorted_[k].push_back(coordinates[j]);
    sums_[k].push_back(sums_[k].back() + rates[j]);
  }
}

// Sum of c_j with smaller coordinates; those with the same one count half.
double ChargeShares::below(int k, double coordinate) const {
  const auto [first, last] = std::equal_range(sorted_[k].begin(), sorted_[k].end(), coordinate);
  const auto at = [&](auto place) { return sums_[k][static_cast<std::size_t>(place - sorted_[k].begin())]; };
  return 0.5 * (at(first) + at(last));
}

Vec3 ChargeShares::at(const double* position) const {
  const Vec3 f = fractional(cell_, position);
  Vec3 difference;
  for (int k = 0; k < 3; ++k) {
    const auto at = static_cast<std::size_t>(k);
    difference[at] = f[at] * rate_ - place_[at];
    if (!cell_.periodic(k)) continue;
    // A difference above 1/2 loses 1, one below -1/2 gains 1.
    difference[at] += sums_[k].back() - below(k, f[at] + 0.5) - below(k, f[at] - 0.5);
  }
  Vec3 out = multiply(difference, cell_.vectors());
  for (std::size_t k = 0; k < 3; ++k) out[k] += moment_[k];
  return out;
}

}  // namespace so3md::heat_flux
