// Hyperparameters of a So3krates model, as written in the model file.
#pragma once

#include <string>
#include <vector>

namespace so3md {

enum class CutoffFunction { phys, cosine, polynomial, exponential };
enum class RadialBasis { bernstein, gaussian, bessel, phys };
enum class Activation { identity, silu, tanh, gelu, relu };
enum class AttentionNormalization { constant, sqrt_head_width, none };

/// Every number that shapes the network. Lengths in Angstrom, energies in eV.
struct Hyperparameters {
  int num_features = 0;      ///< F, width of the invariant features x
  int num_heads = 0;         ///< H, heads of the feature attention; divides F
  std::vector<int> degrees;  ///< degrees l of the spherical harmonic coordinates chi, strictly increasing
  int num_layers = 0;

  double cutoff = 0.0;  ///< short-range cutoff r_c
  CutoffFunction cutoff_function = CutoffFunction::phys;
  double cutoff_exponent = 0.0;  ///< p of the polynomial cutoff, else unused

  RadialBasis radial_basis = RadialBasis::bernstein;
  int num_radial = 0;            ///< K
  double bernstein_gamma = 0.0;  ///< gamma of the Bernstein basis in 1/A, else unused

  int radial_hidden = 0;     ///< hidden width of the radial filter networks
  int spherical_hidden = 0;  ///< hidden width of the spherical filter networks

  Activation activation = Activation::silu;                ///< filters, residual MLPs, embedding MLPs
  Activation query_key_activation = Activation::identity;  ///< on queries and keys
  AttentionNormalization attention_normalization = AttentionNormalization::none;
  double attention_normalizer = 1.0;  ///< N_bar when the normalisation is `constant`

  bool layer_norm_1 = false;
  bool layer_norm_2 = false;
  double layer_norm_epsilon = 1e-6;
  bool residual_mlp_1 = false;
  bool residual_mlp_2 = false;
  bool charge_embedding = false;
  bool spin_embedding = false;

  int energy_hidden = 0;  ///< hidden width of the energy head, 0: one linear map
  Activation energy_activation = Activation::silu;

  bool charge_head = false;  ///< partial charges
  int charge_hidden = 0;     ///< 0: one linear map
  bool hirshfeld_head = false;
  int hirshfeld_hidden = 0;  ///< 0: one linear map
  int hirshfeld_size = 0;    ///< length of the vectors whose product is the ratio

  bool zbl = false;
  double zbl_switch_on = 0.0;
  double zbl_switch_off = 1.5;
  bool electrostatics = false;
  double electrostatics_sigma = 4.0;
  bool dispersion = false;
  double dispersion_damping_scale = 1.2;

  int num_degrees() const { return static_cast<int>(degrees.size()); }
  /// Number of spherical harmonic coordinates per atom, sum over degrees of 2l+1.
  int num_coordinates() const {
    int sum = 0;
    for (int degree : degrees) sum += 2 * degree + 1;
    return sum;
  }
};

}  // namespace so3md
