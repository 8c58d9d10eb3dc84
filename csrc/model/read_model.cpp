#include <algorithm>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "model/model.h"
#include "model/read_hyperparameters.h"
#include "model/safetensors.h"
#include "model/strict_json.h"

namespace so3md {

namespace {

// Takes tensors out of the file by name and shape. The calls of the functions below are the one list of what a file must hold:
// a tensor that is asked for must be there, and at the end none may be left.
class TensorReader {
 public:
  explicit TensorReader(SafetensorsFile& file) : file_(file) {}

  std::vector<double> vector(const std::string& name, int size) { return trained(name, {size}); }

  Matrix matrix(const std::string& name, int rows, int cols) { return {rows, cols, trained(name, {rows, cols})}; }

  std::vector<double> cube(const std::string& name, int size) { return trained(name, {size, size, size}); }

  HeadMatrices head_matrices(const std::string& name, int heads, int width) { return {heads, width, trained(name, {heads, width, width})}; }

  Dense dense(const std::string& name, int out, int in) { return {matrix(name + ".weight", out, in), vector(name + ".bias", out)}; }

  Dense dense_without_bias(const std::string& name, int out, int in) { return {matrix(name + ".weight", out, in), {}}; }

  double positive_scalar(const std::string& name) { return require_positive(name, vector(name, 1)).front(); }

  // Numbers that were never trained.
  std::vector<double> constants(const std::string& name, int size) { return take(name, {size}); }

  Matrix constant_matrix(const std::string& name, int rows, int columns) { return {rows, columns, take(name, {rows, columns})}; }

  std::vector<double> constant_cube(const std::string& name, int rows, int columns, int size) { return take(name, {rows, columns, size}); }

  std::vector<double> positive_constants(const std::string& name, int size) { return require_positive(name, constants(name, size)); }

  void finish() const {
    for (const auto& [name, tensor] : file_.tensors()) {
      if (taken_.contains(name)) continue;
      throw ModelError("tensor " + shown(name) + ": not one of a model with these hyperparameters" + kConvertAgain);
    }
  }

  long num_trained() const { return num_trained_; }

 private:
  static std::vector<double> require_positive(const std::string& name, std::vector<double> values) {
    const auto bad = std::find_if(values.begin(), values.end(), [](double value) { return value <= 0.0; });
    if (bad != values.end()) {
      throw ModelError("tensor " + shown(name) + ": expected positive numbers, found " + std::to_string(*bad) + " at index " +
                       std::to_string(bad - values.begin()) + kConvertAgain);
    }
    return values;
  }

  std::vector<double> trained(const std::string& name, const std::vector<std::int64_t>& shape) {
    std::vector<double> values = take(name, shape);
    num_trained_ += static_cast<long>(values.size());
    return values;
  }

  std::vector<double> take(const std::string& name, const std::vector<std::int64_t>& shape) {
    const auto found = file_.tensors().find(name);
    const std::string expected = "tensor " + shown(name) + ": expected the shape " + shown(shape);
    if (found == file_.tensors().end()) throw ModelError(expected + ", found no such tensor" + kConvertAgain);
    if (found->second.shape != shape) throw ModelError(expected + ", found " + shown(found->second.shape) + kConvertAgain);
    taken_.insert(name);
    return file_.read(name);
  }

  SafetensorsFile& file_;
  std::set<std::string> taken_;
  long num_trained_ = 0;
};

ChargeSpinWeights read_charge_spin(TensorReader& read, const std::string& name, int elements, int features) {
  ChargeSpinWeights out;
  out.query = read.matrix(name + ".query", elements, features);
  out.key = read.matrix(name + ".key", 2, features);
  out.value = read.matrix(name + ".value", 2, features);
  out.mlp1 = read.matrix(name + ".mlp1", features, features);
  out.mlp2 = read.matrix(name + ".mlp2", features, features);
  return out;
}

// exp(-10 (r - c_k)^2) with centres spread evenly from 0 to the cutoff.
void set_gaussians_of_2022(Model& model) {
  constexpr double kCoefficient = 10.0;  // 1/A^2
  const int size = model.hyper.num_radial;
  for (int k = 0; k < size; ++k) model.radial_centers.push_back(size == 1 ? 0.0 : model.hyper.cutoff * k / (size - 1));
  model.radial_widths.assign(static_cast<std::size_t>(size), std::sqrt(0.5 / kCoefficient));
}

void read_embedding(TensorReader& read, Model& model) {
  const Hyperparameters& hyper = model.hyper;
  const int elements = static_cast<int>(model.elements.size());
  model.element_embedding = read.matrix("embedding.element", elements, hyper.num_features);
  if (hyper.charge_embedding) model.charge_embedding = read_charge_spin(read, "embedding.charge", elements, hyper.num_features);
  if (hyper.spin_embedding) model.spin_embedding = read_charge_spin(read, "embedding.spin", elements, hyper.num_features);
}

void read_radial_basis(TensorReader& read, Model& model) {
  const Hyperparameters& hyper = model.hyper;
  if (hyper.architecture == Architecture::so3krates_2022) {
    if (hyper.radial_basis == RadialBasis::bernstein) model.hyper.bernstein_gamma = read.positive_scalar("radial_basis.gamma");
    if (hyper.radial_basis == RadialBasis::gaussian) set_gaussians_of_2022(model);
  } else if (hyper.radial_basis == RadialBasis::gaussian) {
    model.radial_centers = read.constants("radial_basis.centers", hyper.num_radial);
    model.radial_widths = read.positive_constants("radial_basis.widths", hyper.num_radial);
  }
}

FilterWeights read_filter(TensorReader& read, const std::string& name, const Hyperparameters& hyper) {
  FilterWeights out;
  out.radial1 = read.dense(name + ".radial1", hyper.radial_hidden, hyper.num_radial);
  out.radial2 = read.dense(name + ".radial2", hyper.num_features, hyper.radial_hidden);
  out.spherical1 = read.dense(name + ".spherical1", hyper.spherical_hidden, hyper.num_degrees());
  out.spherical2 = read.dense(name + ".spherical2", hyper.num_features, hyper.spherical_hidden);
  return out;
}

void read_attention(TensorReader& read, const std::string& name, const Hyperparameters& hyper, LayerWeights& layer) {
  const int heads = hyper.num_heads, width = hyper.num_features / heads;
  layer.query_features = read.head_matrices(name + ".query_features", heads, width);
  layer.key_features = read.head_matrices(name + ".key_features", heads, width);
  layer.value_features = read.head_matrices(name + ".value_features", heads, width);
  const int degrees = hyper.num_degrees(), degree_width = hyper.num_features / degrees;
  layer.query_coordinates = read.head_matrices(name + ".query_coordinates", degrees, degree_width);
  layer.key_coordinates = read.head_matrices(name + ".key_coordinates", degrees, degree_width);
}

// A norm without parameters scales by one.
LayerNormWeights read_layer_norm(TensorReader& read, const std::string& name, const Hyperparameters& hyper) {
  const auto features = static_cast<std::size_t>(hyper.num_features);
  if (hyper.rms_norm) return {std::vector<double>(features, 1.0), std::vector<double>(features, 0.0)};
  return {read.vector(name + ".scale", hyper.num_features), read.vector(name + ".bias", hyper.num_features)};
}

LayerNormWeights read_norm(TensorReader& read, const std::string& name, int features) {
  return {read.vector(name + ".scale", features), read.vector(name + ".bias", features)};
}

ResidualWeights read_residual(TensorReader& read, const std::string& name, const Hyperparameters& hyper) {
  const int features = hyper.num_features;
  ResidualWeights out;
  if (hyper.residual_mlp_kind == ResidualMlpKind::two_layers) {
    out.dense1 = read.dense(name + ".dense1", features, features);
    out.dense2 = read.dense(name + ".dense2", features, features);
  } else {
    out.dense1 = read.dense_without_bias(name + ".dense1", features, features);
    out.dense2 = read.dense_without_bias(name + ".dense2", features, features);
    out.dense3 = read.dense_without_bias(name + ".dense3", features, features);
  }
  return out;
}

// Biases of the projections, which only the original paper has.
void read_attention_biases(TensorReader& read, const std::string& name, const Hyperparameters& hyper, Layer2022Weights& layer) {
  const int heads = hyper.num_heads, width = hyper.num_features / heads;
  layer.query_features_bias = read.matrix(name + ".query_features_bias", heads, width);
  layer.key_features_bias = read.matrix(name + ".key_features_bias", heads, width);
  layer.value_features_bias = read.matrix(name + ".value_features_bias", heads, width);
  const int degrees = hyper.num_degrees(), degree_width = hyper.num_features / degrees;
  layer.query_coordinates_bias = read.matrix(name + ".query_coordinates_bias", degrees, degree_width);
  layer.key_coordinates_bias = read.matrix(name + ".key_coordinates_bias", degrees, degree_width);
}

Layer2022Weights read_layer_of_2022(TensorReader& read, const std::string& name, const Hyperparameters& hyper) {
  const int degrees = hyper.num_degrees();
  Layer2022Weights out;
  read_attention_biases(read, name + ".attention", hyper, out);
  if (hyper.coordinate_norm) {
    out.coordinate_norm1_scale = read.vector(name + ".coordinate_norm1.scale", degrees);
    out.coordinate_norm2_scale = read.vector(name + ".coordinate_norm2.scale", degrees);
  }
  out.self_mix = read.cube(name + ".self_mix.coefficients", degrees);
  out.self_mix_gate = read.dense(name + ".self_mix.gate", hyper.num_features, degrees);
  return out;
}

LayerWeights read_layer(TensorReader& read, const std::string& name, const Hyperparameters& hyper) {
  const int features = hyper.num_features;
  LayerWeights layer;
  layer.filter_features = read_filter(read, name + ".filter_features", hyper);
  layer.filter_coordinates = read_filter(read, name + ".filter_coordinates", hyper);
  read_attention(read, name + ".attention", hyper, layer);
  if (hyper.layer_norm_1) layer.norm1 = read_layer_norm(read, name + ".norm1", hyper);
  if (hyper.layer_norm_2) layer.norm2 = read_layer_norm(read, name + ".norm2", hyper);
  if (hyper.residual_mlp_1) layer.mlp1 = read_residual(read, name + ".mlp1", hyper);
  if (hyper.residual_mlp_2) layer.mlp2 = read_residual(read, name + ".mlp2", hyper);
  const int exchanged = features + hyper.num_degrees();
  const bool original = hyper.architecture == Architecture::so3krates_2022;
  layer.exchange = read.dense(name + ".exchange", original ? 2 * exchanged : exchanged, exchanged);
  if (hyper.residual_scalars) {
    const std::vector<double> scalars = read.vector(name + ".residual_scalars", 2);
    layer.input_scale = scalars[0];
    layer.embedding_scale = scalars[1];
  }
  if (original) layer.of_2022 = read_layer_of_2022(read, name, hyper);
  return layer;
}

// Hidden width 0: dense2 alone.
void read_head(TensorReader& read, const std::string& name, int features, int hidden, int out, Dense& dense1, Dense& dense2) {
  if (hidden > 0) dense1 = read.dense(name + ".dense1", hidden, features);
  dense2 = read.dense(name + ".dense2", out, hidden > 0 ? hidden : features);
}

void read_heads(TensorReader& read, Model& model) {
  const Hyperparameters& hyper = model.hyper;
  const int elements = static_cast<int>(model.elements.size());
  read_head(read, "energy", hyper.num_features, hyper.energy_hidden, 1, model.energy_dense1, model.energy_dense2);
  model.energy_scale = read.vector("energy.scale", elements);
  model.energy_shift = read.vector("energy.shift", elements);
  if (hyper.charge_head) {
    read_head(read, "charge", hyper.num_features, hyper.charge_hidden, 1, model.charge_dense1, model.charge_dense2);
    model.charge_element = read.vector("charge.element", elements);
  }
  if (hyper.hirshfeld_head) {
    const int size = hyper.hirshfeld_size;
    read_head(read, "hirshfeld", hyper.num_features, hyper.hirshfeld_hidden, size, model.hirshfeld_dense1, model.hirshfeld_dense2);
    const std::vector<double> ones(static_cast<std::size_t>(elements), 1.0);
    model.hirshfeld_query = hyper.simple_hirshfeld ? Matrix{elements, 1, ones} : read.matrix("hirshfeld.query", elements, size);
    model.hirshfeld_shift = read.vector("hirshfeld.shift", elements);
  }
  if (hyper.c6_head) {
    read_head(read, "c6", hyper.num_features, hyper.c6_hidden, 1, model.c6_dense1, model.c6_dense2);
    model.c6_shift = read.vector("c6.shift", elements);
  }
}

// The same from both atoms of a pair, and not growing with their distance.
std::vector<double> read_nlh(TensorReader& read, int elements) {
  const std::string name = "nlh.coefficients";
  std::vector<double> out = read.constant_cube(name, elements, elements, 3);
  const auto at = [&](int i, int j, int k) { return out[static_cast<std::size_t>((i * elements + j) * 3 + k)]; };
  for (int i = 0; i < elements; ++i)
    for (int j = 0; j < elements; ++j)
      for (int k = 0; k < 3; ++k) {
        if (at(i, j, k) != at(j, i, k))
          throw ModelError("tensor " + shown(name) + ": expected the same numbers for i, j and j, i" + kConvertAgain);
        if (k > 0 && at(i, j, k) < 0.0)
          throw ModelError("tensor " + shown(name) + ": expected exponents that are not negative" + kConvertAgain);
      }
  return out;
}

void read_physics(TensorReader& read, Model& model) {
  const int elements = static_cast<int>(model.elements.size());
  if (model.hyper.zbl) {
    model.zbl.a_raw = read.vector("zbl.a_raw", 4);
    model.zbl.c_raw = read.vector("zbl.c_raw", 4);
    model.zbl.p_raw = read.vector("zbl.p_raw", 1).front();
    model.zbl.d_raw = read.vector("zbl.d_raw", 1).front();
  }
  if (model.hyper.nlh) model.nlh = read_nlh(read, elements);
  if (model.hyper.dispersion) {
    model.dispersion_alpha = read.positive_constants("dispersion.alpha", elements);
    model.dispersion_c6 = read.positive_constants("dispersion.c6", elements);
  }
}

Model read_checked(const std::string& path) {
  SafetensorsFile file(path);
  const auto document = file.metadata().find("so3md");
  if (document == file.metadata().end()) {
    throw ModelError("expected the entry \"so3md\" in the header of the safetensors file, found none: this is not a so3md model file" +
                     std::string(kConvertAgain));
  }
  Model model;
  model.path = path;
  model.metadata = document->second;
  ModelDocument description = read_document(model.metadata);
  model.hyper = std::move(description.hyper);
  model.long_range = description.long_range;
  model.elements = std::move(description.elements);

  TensorReader read(file);
  read_embedding(read, model);
  read_radial_basis(read, model);
  // Layers are made one by one: their number is believed only as far as the file has tensors for them.
  for (int t = 0; t < model.hyper.num_layers; ++t) model.layers.push_back(read_layer(read, "layers." + std::to_string(t), model.hyper));
  if (model.hyper.final_layer_norm) model.final_norm = read_norm(read, "final_norm", model.hyper.num_features);
  read_heads(read, model);
  if (description.uncertainty) {
    const int hidden = model.hyper.energy_hidden;
    model.uncertainty = {read.constant_matrix("uncertainty.factor", hidden, hidden), description.uncertainty->scale,
                         description.uncertainty->exponent};
  }
  read_physics(read, model);
  read.finish();
  model.num_parameters = read.num_trained();
  return model;
}

}  // namespace

int Model::species_of(int atomic_number) const {
  const auto found = std::lower_bound(elements.begin(), elements.end(), atomic_number);
  return found != elements.end() && *found == atomic_number ? static_cast<int>(found - elements.begin()) : -1;
}

Model read_model(const std::string& path) {
  try {
    return read_checked(path);
  } catch (const ModelError& error) {
    throw ModelError(path + ": " + error.what());
  }
}

}  // namespace so3md
