#include "network/embedding.h"

#include <cmath>

#include "network/activation.h"

namespace so3md {

namespace {

double softplus(double x) { return x > 30.0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

std::vector<double> multiply(const Matrix& matrix, const std::vector<double>& vector) {
  std::vector<double> out(static_cast<std::size_t>(matrix.rows));
  for (int row = 0; row < matrix.rows; ++row)
    for (int column = 0; column < matrix.cols; ++column)
      out[static_cast<std::size_t>(row)] += matrix(row, column) * vector[static_cast<std::size_t>(column)];
  return out;
}

void activate_all(Activation type, std::vector<double>& values) {
  for (double& value : values) value = activate(type, value);
}

// With y = softplus(q.k / sqrt(F)) and a = psi y / (sum of y over all atoms): e = v + W2 act(W1 act(v)), v = a value; in the original paper
// e = W2 act(W1 v).
void add_charge_or_spin(const Model& model, const ChargeSpinWeights& weights, double psi, const std::vector<double>& counts, Matrix& out) {
  if (psi == 0.0) return;
  const int features = model.hyper.num_features, species = out.rows, sign = psi < 0.0 ? 1 : 0;
  const bool residual = model.hyper.architecture == Architecture::so3krates;
  std::vector<double> score(static_cast<std::size_t>(species));
  double total = 0.0;
  for (int s = 0; s < species; ++s) {
    double product = 0.0;
    for (int f = 0; f < features; ++f) product += weights.query(s, f) * weights.key(sign, f);
    const auto index = static_cast<std::size_t>(s);
    score[index] = softplus(product / std::sqrt(static_cast<double>(features)));
    total += counts[index] * score[index];
  }
  for (int s = 0; s < species; ++s) {
    if (counts[static_cast<std::size_t>(s)] == 0.0) continue;
    const double share = psi * score[static_cast<std::size_t>(s)] / total;
    std::vector<double> value(static_cast<std::size_t>(features));
    for (int f = 0; f < features; ++f) value[static_cast<std::size_t>(f)] = share * weights.value(sign, f);
    std::vector<double> hidden = value;
    if (residual) activate_all(model.hyper.activation, hidden);
    hidden = multiply(weights.mlp1, hidden);
    activate_all(model.hyper.activation, hidden);
    hidden = multiply(weights.mlp2, hidden);
    for (int f = 0; f < features; ++f) {
      const auto at = static_cast<std::size_t>(f);
      out.data[static_cast<std::size_t>(s * features) + at] += (residual ? value[at] : 0.0) + hidden[at];
    }
  }
}

}  // namespace

Matrix species_features(const Model& model, const Composition& composition) {
  Matrix out = model.element_embedding;
  int embeddings = 1;
  if (model.hyper.charge_embedding) {
    ++embeddings;
    add_charge_or_spin(model, model.charge_embedding, composition.total_charge, composition.counts, out);
  }
  if (model.hyper.spin_embedding) {
    ++embeddings;
    add_charge_or_spin(model, model.spin_embedding, composition.num_unpaired_electrons, composition.counts, out);
  }
  for (double& value : out.data) value /= std::sqrt(static_cast<double>(embeddings));
  return out;
}

}  // namespace so3md
