// The weights of a batch, packed for products in both directions.
#pragma once

#include <functional>
#include <vector>

#include "training/kernels.h"
#include "training/sweeps.h"

namespace so3md::training {

template <class Real>
class PackedWeights {
 public:
  /// A piece of the packing; which thread does it when does not matter.
  using Job = std::function<void()>;

  /// tensors: see Network::begin.
  PackedWeights(const Shape& shape, const std::vector<TensorAddress>& tensors, bool with_energies)
      : layers_(static_cast<std::size_t>(shape.layers)) {
    weights_.shape = shape;
    for (std::size_t t = 0; t < layers_.size(); ++t) describe(layers_[t], tensors.data() + t * kTensors);
    const TensorAddress* const last = tensors.data() + layers_.size() * kTensors;
    weights_.final_norm = {parameter(last[0]), parameter(last[1])};
    if (with_energies) describe_energies(last + 2);
    weights_.layers = layers_.data();
    for_arrays([this](Real*&, std::int64_t size) { size_ += static_cast<std::size_t>(size); });
  }
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

  const Weights<Real>& weights() const { return weights_; }
  /// Numbers of all packed matrices.
  std::size_t size() const { return size_; }

  /// Tells where they are to lie.
  void place(Real* memory) {
    for_arrays([&](Real*& array, std::int64_t size) {
      array = memory;
      memory += size;
    });
  }

  std::vector<Job> jobs(const KernelTable<Real>& kernels) {
    std::vector<Job> result;
    for (LayerWeights<Real>& layer : layers_) {
      for_matrices(layer, [&](Matrix<Real>& matrix) { result.push_back([&kernels, &matrix] { pack(kernels, matrix); }); });
      for (Projection<Real>& projection : layer.projection) result.push_back([&kernels, &projection] { pack(kernels, projection); });
    }
    for_energy_matrices([&](Matrix<Real>& matrix) { result.push_back([&kernels, &matrix] { pack(kernels, matrix); }); });
    return result;
  }

 private:
  static Parameter<Real> parameter(const TensorAddress& tensor) { return {static_cast<const Real*>(tensor.value), tensor.gradient}; }

  static void pack(const KernelTable<Real>& kernels, const Matrix<Real>& matrix) {
    kernels.pack(matrix.depth, matrix.columns, matrix.weight.value, 1, matrix.depth, matrix.forward);
    kernels.pack(matrix.columns, matrix.depth, matrix.weight.value, matrix.depth, 1, matrix.backward);
  }

  static void pack(const KernelTable<Real>& kernels, const Projection<Real>& p) {
    const std::int64_t size = p.width * padded(p.width), row = p.kinds * p.width;
    for (std::int64_t head = 0; head < p.heads; ++head)
      for (std::int64_t kind = 0; kind < p.kinds; ++kind) {
        const Real* const from = p.weight.value + head * p.width * row + kind * p.width;
        const std::int64_t place = (head * p.kinds + kind) * size;
        kernels.pack(p.width, p.width, from, row, 1, p.forward + place);
        kernels.pack(p.width, p.width, from, 1, row, p.backward + place);
      }
  }

  static std::int64_t padded(std::int64_t columns) { return (columns + kPanel<Real> - 1) / kPanel<Real> * kPanel<Real>; }

  void describe(LayerWeights<Real>& layer, const TensorAddress* tensors) const {
    const Shape& shape = weights_.shape;
    const auto matrix = [&](int weight, int bias, std::int64_t depth, std::int64_t columns, std::int64_t block = 0) {
      Matrix<Real> result;
      result.depth = depth;
      result.columns = columns;
      result.weight = part(tensors[weight], block * depth * columns);
      if (bias < kTensors && tensors[bias].value != nullptr) result.bias = part(tensors[bias], block * columns);
      return result;
    };
    for (std::int64_t block = 0; block < 2; ++block) {
      layer.radial1[block] = matrix(radial1_weight, radial1_bias, shape.basis, shape.radial_hidden, block);
      layer.radial2[block] = matrix(radial2_weight, radial2_bias, shape.radial_hidden, shape.features, block);
      layer.spherical1[block] = matrix(spherical1_weight, spherical1_bias, shape.degrees, shape.spherical_hidden, block);
      layer.spherical2[block] = matrix(spherical2_weight, spherical2_bias, shape.spherical_hidden, shape.features, block);
    }
    layer.projection[0] = {shape.heads, shape.features / shape.heads, 3, parameter(tensors[query_key_value])};
    layer.projection[1] = {shape.degrees, shape.features / shape.degrees, 2, parameter(tensors[query_key_coordinates])};
    layer.norm[0] = {parameter(tensors[norm1_scale]), parameter(tensors[norm1_bias])};
    layer.norm[1] = {parameter(tensors[norm2_scale]), parameter(tensors[norm2_bias])};
    constexpr int names[2][3][2] = {
        {{mlp1_dense1_weight, mlp1_dense1_bias}, {mlp1_dense2_weight, mlp1_dense2_bias}, {mlp1_dense3_weight, kTensors}},
        {{mlp2_dense1_weight, mlp2_dense1_bias}, {mlp2_dense2_weight, mlp2_dense2_bias}, {mlp2_dense3_weight, kTensors}}};
    for (int number = 0; number < 2; ++number)
      for (int map = 0; map < 3; ++map)
        layer.residual[number][map] = matrix(names[number][map][0], names[number][map][1], shape.features, shape.features);
    const std::int64_t both = shape.features + shape.degrees;
    layer.exchange = matrix(exchange_weight, exchange_bias, both, both);
  }

  void describe_energies(const TensorAddress* tensors) {
    const Shape& shape = weights_.shape;
    EnergyWeights<Real>& energy = weights_.energy;
    energy.embedding = parameter(tensors[embedding]);
    energy.scale = parameter(tensors[energy_scale]);
    energy.hidden = shape.energy_hidden;
    energy.activation = shape.energy_activation;
    const std::int64_t last = energy.hidden > 0 ? energy.hidden : shape.features;
    energy.dense2 = {last, 1, parameter(tensors[dense2_weight]), parameter(tensors[dense2_bias])};
    if (energy.hidden > 0)
      energy.dense1 = {shape.features, energy.hidden, parameter(tensors[dense1_weight]), parameter(tensors[dense1_bias])};
  }

  template <class Body>
  void for_energy_matrices(const Body& body) {
    for (Matrix<Real>* matrix : {&weights_.energy.dense1, &weights_.energy.dense2})
      if (matrix->weight.value != nullptr) body(*matrix);
  }

  static Parameter<Real> part(const TensorAddress& tensor, std::int64_t offset) {
    if (tensor.value == nullptr) return {};
    return {static_cast<const Real*>(tensor.value) + offset, tensor.gradient + offset};
  }

  /// Calls body for each matrix that the layer has.
  template <class Body>
  static void for_matrices(LayerWeights<Real>& layer, const Body& body) {
    const auto offer = [&](Matrix<Real>& matrix) {
      if (matrix.weight.value != nullptr) body(matrix);
    };
    for (int k = 0; k < 2; ++k) {
      for (Matrix<Real>* matrix : {&layer.radial1[k], &layer.radial2[k], &layer.spherical1[k], &layer.spherical2[k]}) offer(*matrix);
      for (Matrix<Real>& matrix : layer.residual[k]) offer(matrix);
    }
    offer(layer.exchange);
  }

  template <class Body>
  void for_arrays(const Body& body) {
    const auto of_matrix = [&](Matrix<Real>& matrix) {
      body(matrix.forward, matrix.depth * padded(matrix.columns));
      body(matrix.backward, matrix.columns * padded(matrix.depth));
    };
    for_energy_matrices(of_matrix);
    for (LayerWeights<Real>& layer : layers_) {
      for_matrices(layer, of_matrix);
      for (Projection<Real>& p : layer.projection) {
        const std::int64_t size = p.heads * p.kinds * p.width * padded(p.width);
        body(p.forward, size);
        body(p.backward, size);
      }
    }
  }

  Weights<Real> weights_;
  std::vector<LayerWeights<Real>> layers_;
  std::size_t size_ = 0;
};

}  // namespace so3md::training
