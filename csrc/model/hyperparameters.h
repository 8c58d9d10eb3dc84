// Hyperparameters of a So3krates model, as written in the model file.
#pragma once

#include <limits>
#include <string>
#include <vector>

namespace so3md {

enum class CutoffFunction { phys, cosine, polynomial, exponential };
enum class RadialBasis { bernstein, gaussian, bessel, phys };
enum class Activation { identity, silu, tanh, gelu, relu };
enum class AttentionNormalization { constant, sqrt_head_width, none };

/// so3krates: the local family from 2023 on, with SO3LR. so3krates_2022: the original paper, with attention in the space of the
/// spherical harmonic coordinates.
enum class Architecture { so3krates, so3krates_2022 };

/// Where the layer norms act: on what a block puts out (post), or on what goes into it (pre).
enum class LayerNormPosition { post, pre };

/// two_layers: x + W2 act(W1 act(x)) with biases. three_layers: W3 act(x + W2 act(W1 act(x))) without biases.
enum class ResidualMlpKind { two_layers, three_layers };

/// chi before the first layer. neighbour_sum: sum_j phi_ij Y_ij over a constant.
enum class InitialCoordinates { zero, neighbour_sum };

/// Attention between atoms that are close in the space of chi (so3krates_2022): none, or with the cutoff c = 1/n or a constant.
enum class NonlocalAttention { none, dynamic, fixed };

/// The long-range terms as a model was trained with them. Lengths in Angstrom.
struct LongRangeSettings {
  double periodic = std::numeric_limits<double>::infinity();   ///< R in systems with a periodic direction; infinity: not made for these
  double molecules = std::numeric_limits<double>::infinity();  ///< R in systems without one; infinity: no cutoff
  double damping = 2.0;                                        ///< the dispersion is switched off between R - damping and R
};

/// Every number that shapes the network. Lengths in Angstrom, energies in eV.
struct Hyperparameters {
  Architecture architecture = Architecture::so3krates;

  int num_features = 0;      ///< F, width of the invariant features x
  int num_heads = 0;         ///< H, heads of the feature attention; divides F
  std::vector<int> degrees;  ///< degrees l of the spherical harmonic coordinates chi, increasing; each may be there several times
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

  InitialCoordinates initial_coordinates = InitialCoordinates::zero;  ///< so3krates only; so3krates_2022 has the mean over neighbours
  double initial_coordinates_normalizer = 1.0;                        ///< lambda of neighbour_sum

  bool layer_norm_1 = false;
  bool layer_norm_2 = false;
  LayerNormPosition layer_norm_position = LayerNormPosition::post;
  bool final_layer_norm = false;  ///< one more after the last layer
  double layer_norm_epsilon = 1e-6;
  bool residual_mlp_1 = false;
  bool residual_mlp_2 = false;
  ResidualMlpKind residual_mlp_kind = ResidualMlpKind::two_layers;
  bool rms_norm = false;             ///< layer norms without mean, scale and shift
  bool normalize_query_key = false;  ///< queries and keys of each head over the root of the mean of their squares
  bool residual_scalars = false;     ///< before each layer, x becomes a mixture of x and the features after the embedding
  bool charge_embedding = false;
  bool spin_embedding = false;

  // so3krates_2022 only; there layer_norm_1 and layer_norm_2 are on or off together.
  bool parity = false;           ///< the self-interaction of chi keeps only paths that make energies invariant under inversion
  bool coordinate_norm = false;  ///< normalise chi, degree by degree, after each block
  NonlocalAttention nonlocal_attention = NonlocalAttention::none;
  double nonlocal_cutoff = 0.0;  ///< c of `fixed`, else unused

  int energy_hidden = 0;  ///< hidden width of the energy head, 0: one linear map
  Activation energy_activation = Activation::silu;

  bool charge_head = false;  ///< partial charges
  int charge_hidden = 0;     ///< 0: one linear map
  bool hirshfeld_head = false;
  int hirshfeld_hidden = 0;  ///< 0: one linear map
  int hirshfeld_size = 0;    ///< length of the vectors whose product is the ratio; 1, with vectors of 1, for the simple head
  bool simple_hirshfeld = false;
  bool c6_head = false;  ///< ratios of C6 of their own, in the place of squares of Hirshfeld ratios
  int c6_hidden = 0;     ///< 0: one linear map

  bool zbl = false;
  bool nlh = false;            ///< in the place of ZBL
  double zbl_switch_on = 0.0;  ///< of either repulsion
  double zbl_switch_off = 1.5;
  bool electrostatics = false;
  double electrostatics_sigma = 4.0;
  bool dispersion = false;
  double dispersion_damping_scale = 1.2;

  bool has_repulsion() const { return zbl || nlh; }
  bool has_long_range() const { return electrostatics || dispersion; }
  int num_degrees() const { return static_cast<int>(degrees.size()); }
  /// Number of spherical harmonic coordinates per atom, sum over degrees of 2l+1.
  int num_coordinates() const {
    int sum = 0;
    for (int degree : degrees) sum += 2 * degree + 1;
    return sum;
  }
};

/// The first hyperparameter, by name, that only models of the second generation of SO3LR have (docs/so3lr2.md); empty for all others.
std::string second_generation(const Hyperparameters& hyper);

}  // namespace so3md
