// A So3krates model in memory: hyperparameters and weights in double, as read from a model file.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "common/errors.h"
#include "model/hyperparameters.h"

namespace so3md {

/// Row-major matrix.
struct Matrix {
  int rows = 0;
  int cols = 0;
  std::vector<double> data;
  double operator()(int row, int col) const { return data[static_cast<std::size_t>(row) * cols + col]; }
};

/// y = weight x + bias; weight has the shape (out, in); an empty bias is no bias.
struct Dense {
  Matrix weight;
  std::vector<double> bias;
};

/// One matrix per head; element (h, d, e) multiplies input d and yields output e.
struct HeadMatrices {
  int heads = 0;
  int width = 0;
  std::vector<double> data;
  double operator()(int head, int in, int out) const { return data[(static_cast<std::size_t>(head) * width + in) * width + out]; }
};

struct LayerNormWeights {
  std::vector<double> scale;
  std::vector<double> bias;
};

/// Filter network: radial2 act(radial1 g(r)) + spherical2 act(spherical1 m(chi_j - chi_i)).
struct FilterWeights {
  Dense radial1, radial2, spherical1, spherical2;
};

struct ResidualWeights {
  Dense dense1, dense2;
  Dense dense3{};  ///< ResidualMlpKind::three_layers only; no dense map has a bias then
};

/// What a layer of so3krates_2022 has beside the rest.
struct Layer2022Weights {
  Matrix query_features_bias, key_features_bias, value_features_bias;  ///< (heads, F / heads)
  Matrix query_coordinates_bias, key_coordinates_bias;                 ///< (degrees, F / degrees)
  std::vector<double> coordinate_norm1_scale, coordinate_norm2_scale;  ///< by degree; empty without coordinate_norm
  std::vector<double> self_mix;                                        ///< kappa [l3][l1][l2], positions in Hyperparameters::degrees
  Dense self_mix_gate;                                                 ///< (F, degrees)
};

struct LayerWeights {
  FilterWeights filter_features, filter_coordinates;
  HeadMatrices query_features, key_features, value_features;
  HeadMatrices query_coordinates, key_coordinates;
  LayerNormWeights norm1, norm2;
  ResidualWeights mlp1, mlp2;
  double input_scale = 1.0, embedding_scale = 0.0;  ///< of x and of the features after the embedding, before the layer
  Dense exchange;                                   ///< so3krates_2022: rows (a1, a2, b1, b2), without activation
  Layer2022Weights of_2022;
};

/// Embedding of the total charge or of the number of unpaired electrons. Row 0 of key and value serves psi >= 0, row 1 psi < 0.
struct ChargeSpinWeights {
  Matrix query;  ///< (elements, F)
  Matrix key;    ///< (2, F)
  Matrix value;  ///< (2, F)
  Matrix mlp1, mlp2;
};

struct ZblWeights {
  std::vector<double> a_raw, c_raw;  ///< four each; the used numbers are softplus of these
  double p_raw = 0.0;
  double d_raw = 0.0;
};

/// Last-layer uncertainty (docs/theory.md, section 18): d^2 = |factor h|^2 of the hidden values h of the energy head, and the force error
/// scale d^exponent that is to be expected of an atom.
struct UncertaintyWeights {
  Matrix factor;          ///< (energy_hidden, energy_hidden); empty: the model has none
  double scale = 0.0;     ///< eV/A
  double exponent = 0.0;  ///< not negative
  bool given() const { return factor.rows > 0; }
};

/// Everything that a model file holds. Tables are indexed by position in `elements`, not by atomic number.
struct Model {
  Hyperparameters hyper;
  LongRangeSettings long_range;
  std::vector<int> elements;  ///< atomic numbers that the model was trained for, strictly increasing
  std::string path;           ///< of the file
  std::string metadata;       ///< its JSON document, as it is
  long num_parameters = 0;

  std::vector<double> radial_centers, radial_widths;  ///< gaussian basis only, A

  Matrix element_embedding;  ///< (elements, F)
  ChargeSpinWeights charge_embedding, spin_embedding;
  std::vector<LayerWeights> layers;
  LayerNormWeights final_norm;

  Dense energy_dense1, energy_dense2;
  std::vector<double> energy_scale, energy_shift;  ///< per element, eV
  UncertaintyWeights uncertainty;

  Dense charge_dense1, charge_dense2;
  std::vector<double> charge_element;  ///< per element, e

  Dense hirshfeld_dense1, hirshfeld_dense2;
  Matrix hirshfeld_query;               ///< (elements, hirshfeld_size); ones for the simple head
  std::vector<double> hirshfeld_shift;  ///< per element

  Dense c6_dense1, c6_dense2;
  std::vector<double> c6_shift;  ///< per element

  ZblWeights zbl;
  std::vector<double> nlh;               ///< (elements, elements, 3): A1, B1, B2 of the NLH repulsion; exponents in 1/A
  std::vector<double> dispersion_alpha;  ///< free-atom polarisability per element, Bohr^3
  std::vector<double> dispersion_c6;     ///< free-atom C6 per element, Hartree Bohr^6

  /// Position of an atomic number in `elements`, or -1.
  int species_of(int atomic_number) const;
};

/// Read and validate a model file (docs/model_file.md). Throws ModelError.
Model read_model(const std::string& path);

}  // namespace so3md
