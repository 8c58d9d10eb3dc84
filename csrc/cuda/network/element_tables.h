// What depends on the species of an atom alone: features before the first layer and, where that layer's attention is tabulated, its
// tables.
#pragma once

#include <vector>

#include "cuda/network/weights.h"
#include "network/first_layer.h"

namespace so3md::cuda {

/// For kernels: so3md::FirstLayer on the device.
template <class Real>
struct SpeciesView {
  int num_species = 0;
  int stride = 0;                       ///< numbers of one spline row: heads, then degrees, padded
  TableCoordinate coordinate;           ///< of the splines
  const Real* const* tables = nullptr;  ///< [species of i][species of j]: spline rows, with the normalisers; null for absent pairs
  const Real* features = nullptr;       ///< [species][features] before the layer
  const Real* values = nullptr;         ///< [species][channels] value vectors, lane order
  const int* species = nullptr;         ///< by slot
};

template <class Real>
class ElementTables {
 public:
  /// Brings to the device what is new with this composition, and waits for the stream if anything is.
  void update(const Parameters<Real>& parameters, const NetworkLayout& layout, const Composition& composition, const Stream& stream);

  /// [species][features] that the first layer starts with.
  const Real* features() const { return features_.data(); }
  /// [species][features] after the embedding, which later layers of some models mix in.
  const Real* embedded() const { return embedded_.data(); }
  /// `species`: by slot.
  SpeciesView<Real> view(const int* species) const;
  /// From the features of a head to its products with the values of all species; that of the next head lies value_matrix_size() further.
  DeviceMatrix<Real> value_matrix() const { return {value_matrix_.data(), nullptr, head_width_, num_species_, matrix_stride()}; }
  std::int64_t value_matrix_size() const { return std::int64_t{head_width_} * matrix_stride(); }

 private:
  int matrix_stride() const { return round_up(num_species_, kQuad); }
  void upload_tables(const Parameters<Real>& parameters, const NetworkLayout& layout, const FirstLayer<Real>& host, const Stream& stream);
  void upload_values(const Parameters<Real>& parameters, const NetworkLayout& layout, const FirstLayer<Real>& host, const Stream& stream);

  Composition composition_;
  std::vector<double> host_features_;
  FirstLayerTables<Real> host_tables_;
  std::vector<const Real*> uploaded_;  // tables of the host that are on the device
  int num_species_ = 0, head_width_ = 0, stride_ = 0;
  TableCoordinate coordinate_;
  DeviceArray<Real> features_, embedded_, rows_, values_, value_matrix_;
  DeviceArray<const Real*> tables_;
};

}  // namespace so3md::cuda
