#include "physics/dispersion_tail.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "common/index.h"
#include "model/model.h"
#include "physics/scalar_math.h"

namespace so3md {

namespace {

using std::numbers::pi;

constexpr int kSwitchNodes = 48, kFarNodes = 16;

/// A point of the interval from 0 to 1, and its weight.
struct Node {
  double place, weight;
};

// Gauss-Legendre: the roots of the Legendre polynomial, by Newton's method.
std::vector<Node> legendre_nodes(int count) {
  std::vector<Node> out;
  for (int k = 0; k < count; ++k) {
    double x = std::cos(pi * (k + 0.75) / (count + 0.5)), slope = 1.0;
    for (int step = 0; step < 10; ++step) {
      double value = x, before = 1.0;
      for (int degree = 2; degree <= count; ++degree) {
        const double next = ((2 * degree - 1) * x * value - (degree - 1) * before) / degree;
        before = value;
        value = next;
      }
      slope = count * (x * value - before) / (x * x - 1.0);
      x -= value / slope;
    }
    out.push_back({0.5 * (1.0 + x), 1.0 / ((1.0 - x * x) * slope * slope)});
  }
  return out;
}

}  // namespace

TailNodes make_tail_nodes(double cutoff, double damping) {
  TailNodes out;
  const auto add = [&](double r, double weight) {
    out.distances.push_back(r);
    out.weights.push_back(4.0 * pi * r * r * weight);
  };
  const double on = cutoff - damping;
  for (const Node& node : legendre_nodes(kSwitchNodes)) {
    const double r = on + damping * node.place;
    add(r, damping * node.weight * (1.0 - smooth_switch<ScalarMath>(r, on, 1.0 / damping).value));
  }
  for (const Node& node : legendre_nodes(kFarNodes)) {
    const double r = cutoff / node.place;  // dr = r^2 d(1/r)
    add(r, r * r * node.weight / cutoff);
  }
  return out;
}

std::vector<double> dispersion_c6_factors(const Model& model) {
  std::vector<double> out;
  for (std::size_t s = 0; s < model.dispersion_alpha.size(); ++s)
    out.push_back(model.dispersion_c6[s] / (model.dispersion_alpha[s] * model.dispersion_alpha[s]));
  return out;
}

DispersionTail::DispersionTail(const Model& model, double cutoff, double damping)
    : nodes_(make_tail_nodes(cutoff, damping)),
      constants_(dispersion_constants<double>(model.hyper.dispersion_damping_scale, std::numeric_limits<double>::infinity(), damping)),
      alphas_(model.dispersion_alpha),
      c6_factors_(dispersion_c6_factors(model)) {}

// C6 / alpha^2 of an atom.
double DispersionTail::c6_factor(const TailAtoms& atoms, int i) const {
  const double free_atom = c6_factors_[index_of(atoms.species[i])];
  return atoms.c6_ratios == nullptr ? free_atom : atom_c6(free_atom, atoms.ratios[i], atoms.c6_ratios[i]).value;
}

// [3][species] numbers of atoms, ratios, and ratios times C6 / alpha^2.
std::vector<double> DispersionTail::sum(const TailAtoms& atoms) const {
  const std::size_t species = alphas_.size();
  std::vector<double> sums(3 * species, 0.0);
  for (int i = 0; i < atoms.n; ++i) {
    const auto s = index_of(atoms.species[i]);
    sums[s] += 1.0;
    sums[species + s] += atoms.ratios[i];
    sums[2 * species + s] += atoms.ratios[i] * c6_factor(atoms, i);
  }
  return sums;
}

void DispersionTail::evaluate(const TailAtoms& atoms, double volume, HaloExchange& halo) const {
  std::vector<double> sums = sum(atoms);
  halo.sum(sums.data(), static_cast<int>(sums.size()));
  const std::vector<Share> each = shares(sums, volume);
  for (int i = 0; i < atoms.n; ++i) {
    const auto s = index_of(atoms.species[i]);
    const double alpha = alphas_[s] * atoms.ratios[i], energy = alpha * each[s].energy;
    atoms.energies[i] += energy;
    atoms.alpha_gradient[i] += each[s].gradient;
    if (atoms.c6_ratios != nullptr) {
      atoms.alpha_gradient[i] += each[s].c6_gradient * (c6_factor(atoms, i) - each[s].mean_c6);
      atoms.c6_gradient[i] += each[s].c6_gradient * alpha;
    }
    if (atoms.virials == nullptr) continue;
    for (std::size_t c = 0; c < 9; c += 4) atoms.virials[9 * index_of(i) + c] -= energy;  // as the energy falls with the volume
  }
}

// Equations (86), (87) and (100): the pair energies of atoms with the mean polarisabilities and C6 / alpha^2 of their elements.
std::vector<DispersionTail::Share> DispersionTail::shares(const std::vector<double>& sums, double volume) const {
  const std::size_t species = alphas_.size();
  const double *counts = sums.data(), *ratios = counts + species, *products = ratios + species;
  const auto mean_alpha = [&](std::size_t s) { return alphas_[s] * ratios[s] / counts[s]; };
  const auto mean_c6 = [&](std::size_t s) { return ratios[s] > 0.0 ? products[s] / ratios[s] : c6_factors_[s]; };
  std::vector<Share> out(species);
  for (std::size_t s = 0; s < species; ++s) {
    if (counts[s] == 0.0) continue;
    const double mean = mean_alpha(s);
    double energy = 0.0, gradient = 0.0, c6_gradient = 0.0;
    for (std::size_t t = 0; t < species; ++t) {
      if (counts[t] == 0.0) continue;
      const auto root = ScalarMath::seventh_root(0.5 * (mean + mean_alpha(t)));
      for (std::size_t k = 0; k < nodes_.distances.size(); ++k) {
        const auto pair = dispersion_pair<ScalarMath>(constants_, nodes_.distances[k], mean, mean_alpha(t), mean_c6(s), mean_c6(t), root,
                                                      ValueAndSlope<double>{1.0, 0.0});
        energy += counts[t] * nodes_.weights[k] * pair.energy;
        gradient += counts[t] * nodes_.weights[k] * pair.d_alpha;
        c6_gradient += counts[t] * nodes_.weights[k] * pair.d_c;
      }
    }
    const double by_alpha = mean > 0.0 ? 1.0 / (volume * mean) : 0.0;
    out[s] = {0.5 * energy * by_alpha, gradient / volume, mean_c6(s), c6_gradient * by_alpha};
  }
  return out;
}

double DispersionTail::energy(const TailAtoms& atoms, double volume) const {
  const std::vector<double> sums = sum(atoms);
  const std::vector<Share> each = shares(sums, volume);
  double energy = 0.0;
  for (std::size_t s = 0; s < each.size(); ++s) energy += alphas_[s] * sums[each.size() + s] * each[s].energy;
  return energy;
}

}  // namespace so3md
