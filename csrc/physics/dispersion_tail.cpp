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

void DispersionTail::evaluate(const TailAtoms& atoms, double volume, HaloExchange& halo) const {
  const std::size_t species = alphas_.size();
  std::vector<double> sums(2 * species, 0.0);  // numbers of atoms, ratios
  for (int i = 0; i < atoms.n; ++i) {
    const auto s = index_of(atoms.species[i]);
    sums[s] += 1.0;
    sums[species + s] += atoms.ratios[i];
  }
  halo.sum(sums.data(), static_cast<int>(sums.size()));
  const std::vector<Share> each = shares(sums.data(), sums.data() + species, volume);
  for (int i = 0; i < atoms.n; ++i) {
    const auto s = index_of(atoms.species[i]);
    const double energy = alphas_[s] * atoms.ratios[i] * each[s].energy;
    atoms.energies[i] += energy;
    atoms.alpha_gradient[i] += each[s].gradient;
    if (atoms.virials == nullptr) continue;
    for (std::size_t c = 0; c < 9; c += 4) atoms.virials[9 * index_of(i) + c] -= energy;  // as the energy falls with the volume
  }
}

// Equations (86) and (87): the pair energies of atoms with the mean polarisabilities of their elements.
std::vector<DispersionTail::Share> DispersionTail::shares(const double* counts, const double* ratios, double volume) const {
  std::vector<Share> out(alphas_.size());
  for (std::size_t s = 0; s < out.size(); ++s) {
    if (counts[s] == 0.0) continue;
    const double mean = alphas_[s] * ratios[s] / counts[s];
    double energy = 0.0, gradient = 0.0;
    for (std::size_t t = 0; t < out.size(); ++t) {
      if (counts[t] == 0.0) continue;
      const double other = alphas_[t] * ratios[t] / counts[t];
      const auto root = ScalarMath::seventh_root(0.5 * (mean + other));
      for (std::size_t k = 0; k < nodes_.distances.size(); ++k) {
        const auto pair = dispersion_pair<ScalarMath>(constants_, nodes_.distances[k], mean, other, c6_factors_[s], c6_factors_[t], root,
                                                      ValueAndSlope<double>{1.0, 0.0});
        energy += counts[t] * nodes_.weights[k] * pair.energy;
        gradient += counts[t] * nodes_.weights[k] * pair.d_alpha;
      }
    }
    out[s] = {mean > 0.0 ? 0.5 * energy / (volume * mean) : 0.0, gradient / volume};
  }
  return out;
}

double DispersionTail::energy(const double* counts, const double* ratios, double volume) const {
  const std::vector<Share> each = shares(counts, ratios, volume);
  double sum = 0.0;
  for (std::size_t s = 0; s < each.size(); ++s) sum += alphas_[s] * ratios[s] * each[s].energy;
  return sum;
}

}  // namespace so3md
