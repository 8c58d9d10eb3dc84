// What a network for training looks like, and the tensors of its layers.
#pragma once

#include <cstdint>

#include "model/hyperparameters.h"
#include "network/layout.h"

namespace so3md::training {

/// Most numbers of the coordinates chi: a degree may be there several times.
inline constexpr int kMaxCoordinates = kMaxDegrees * (2 * kMaxDegree + 1);

struct Shape {
  std::int64_t features = 0, heads = 0, degrees = 0, coordinates = 0, basis = 0, radial_hidden = 0, spherical_hidden = 0, layers = 0;
  std::int64_t degree_of[kMaxCoordinates] = {};  ///< place of the degree that a coordinate belongs to
  double invariant_norm[kMaxCoordinates] = {};   ///< (2l+1)^(-1/2) of the degree of a coordinate, eq. (16)
  double sign[kMaxCoordinates] = {};             ///< of a harmonic whose direction is reversed
  Activation activation = Activation::silu, query_key_activation = Activation::identity;
  bool norm[2] = {}, residual[2] = {};
  bool three_layers = false, pre_norm = false, final_norm = false, neighbour_sum = false;
  double norm_epsilon = 0, score_factor = 1, coordinate_score_factor = 1;
  std::int64_t energy_hidden = 0;  ///< of the energy head
  Activation energy_activation = Activation::silu;
  double start_factor = 0;  ///< of the sum of harmonics with which chi begins, if neighbour_sum
};

/// The tensors of a layer, with the names that they have in python/so3md/training/fast_model.py.
// clang-format off
#define SO3MD_TRAINING_TENSORS(X)                                                                             \
  X(radial1_weight) X(radial1_bias) X(radial2_weight) X(radial2_bias) X(spherical1_weight) X(spherical1_bias) \
  X(spherical2_weight) X(spherical2_bias) X(query_key_value) X(query_key_coordinates) X(norm1_scale)          \
  X(norm1_bias) X(norm2_scale) X(norm2_bias) X(mlp1_dense1_weight) X(mlp1_dense1_bias) X(mlp1_dense2_weight)  \
  X(mlp1_dense2_bias) X(mlp1_dense3_weight) X(mlp2_dense1_weight) X(mlp2_dense1_bias) X(mlp2_dense2_weight)   \
  X(mlp2_dense2_bias) X(mlp2_dense3_weight) X(exchange_weight) X(exchange_bias)
// clang-format on

enum Tensor : int {
#define SO3MD_TENSOR(name) name,
  SO3MD_TRAINING_TENSORS(SO3MD_TENSOR)
#undef SO3MD_TENSOR
      kTensors
};

/// Those that come after the layers and the final norm where energies are asked for.
enum EnergyTensor : int { embedding, energy_scale, dense1_weight, dense1_bias, dense2_weight, dense2_bias, kEnergyTensors };

inline constexpr const char* kTensorNames[] = {
#define SO3MD_TENSOR(name) #name,
    SO3MD_TRAINING_TENSORS(SO3MD_TENSOR)
#undef SO3MD_TENSOR
};

}  // namespace so3md::training
