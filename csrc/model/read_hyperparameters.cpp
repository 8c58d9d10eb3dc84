#include "model/read_hyperparameters.h"

#include <cstdint>
#include <limits>
#include <utility>

#include "common/largest_length.h"
#include "model/strict_json.h"

namespace so3md {

namespace {

constexpr std::uint64_t kFormatVersion = 1;
constexpr int kLargestSize = 1 << 16;  // of any width or count: keeps every product of two within 64 bits
constexpr int kLargestDegree = 8;
constexpr int kLargestAtomicNumber = 118;
constexpr double kLargestCutoff = 100.0;  // A, of a network: within it, a liquid has 400,000 neighbours

constexpr std::pair<const char*, CutoffFunction> kCutoffFunctions[] = {
    {"phys", CutoffFunction::phys},
    {"cosine", CutoffFunction::cosine},
    {"exponential", CutoffFunction::exponential},
    {"polynomial", CutoffFunction::polynomial},
};
constexpr std::pair<const char*, RadialBasis> kRadialBases[] = {
    {"bernstein", RadialBasis::bernstein},
    {"gaussian", RadialBasis::gaussian},
    {"bessel", RadialBasis::bessel},
    {"phys", RadialBasis::phys},
};
constexpr std::pair<const char*, Activation> kActivations[] = {
    {"identity", Activation::identity}, {"silu", Activation::silu}, {"tanh", Activation::tanh},
    {"gelu", Activation::gelu},         {"relu", Activation::relu},
};
constexpr std::pair<const char*, AttentionNormalization> kAttentionNormalizations[] = {
    {"constant", AttentionNormalization::constant},
    {"sqrt_head_width", AttentionNormalization::sqrt_head_width},
    {"none", AttentionNormalization::none},
};

constexpr std::pair<const char*, Architecture> kArchitectures[] = {
    {"so3krates", Architecture::so3krates},
    {"so3krates-2022", Architecture::so3krates_2022},
};
constexpr std::pair<const char*, LayerNormPosition> kLayerNormPositions[] = {
    {"post", LayerNormPosition::post},
    {"pre", LayerNormPosition::pre},
};
constexpr std::pair<const char*, ResidualMlpKind> kResidualMlpKinds[] = {
    {"two_layers", ResidualMlpKind::two_layers},
    {"three_layers", ResidualMlpKind::three_layers},
};
constexpr std::pair<const char*, InitialCoordinates> kInitialCoordinates[] = {
    {"zero", InitialCoordinates::zero},
    {"neighbour_sum", InitialCoordinates::neighbour_sum},
};
constexpr std::pair<const char*, NonlocalAttention> kNonlocalAttentions[] = {
    {"dynamic", NonlocalAttention::dynamic},
    {"static", NonlocalAttention::fixed},
};

// The only value that a key may have, as a choice of one.
void require(ObjectReader& object, const char* key, const char* expected) {
  const std::pair<const char*, bool> only[] = {{expected, true}};
  object.choice(key, only);
}

void check_version(ObjectReader& document) {
  const Json& version = document.value("format_version");
  if (version.is_number_unsigned() && version.get<std::uint64_t>() == kFormatVersion) return;
  if (version.is_number_unsigned() && version.get<std::uint64_t>() > kFormatVersion) {
    throw ModelError("format_version: expected " + std::to_string(kFormatVersion) + ", found " + shown(version) +
                     ": the file is from a newer so3md: update so3md");
  }
  document.refuse("format_version", std::to_string(kFormatVersion));
}

std::vector<int> read_increasing(ObjectReader& object, const char* key, int low, int high) {
  const std::string expected = "a list of strictly increasing integers from " + std::to_string(low) + " to " + std::to_string(high);
  const Json& list = object.value(key);
  if (!list.is_array()) object.refuse(key, expected);
  std::vector<int> out;
  for (const Json& item : list) {
    // The order of the conditions matters: a number beyond `high` may not fit an int.
    const bool fits = item.is_number_unsigned() && item.get<std::uint64_t>() <= static_cast<std::uint64_t>(high);
    if (!fits || item.get<int>() < low || (!out.empty() && item.get<int>() <= out.back())) object.refuse(key, expected);
    out.push_back(item.get<int>());
  }
  if (out.empty()) object.refuse(key, expected);
  return out;
}

void read_local_environment(ObjectReader& object, Hyperparameters& hyper) {
  hyper.cutoff = object.positive("cutoff", kLargestCutoff);
  object.object("cutoff_function", [&](ObjectReader& function) {
    hyper.cutoff_function = function.choice("type", kCutoffFunctions);
    if (hyper.cutoff_function == CutoffFunction::polynomial) hyper.cutoff_exponent = function.positive("exponent");
  });
  object.object("radial_basis", [&](ObjectReader& basis) {
    hyper.radial_basis = basis.choice("type", kRadialBases);
    hyper.num_radial = basis.integer("size", 1, kLargestSize);
    // The paper trains gamma: it is a tensor.
    const bool has_gamma = hyper.radial_basis == RadialBasis::bernstein && hyper.architecture == Architecture::so3krates;
    if (has_gamma) hyper.bernstein_gamma = basis.positive("gamma");
  });
}

void read_sizes(ObjectReader& object, int smallest_degree, Hyperparameters& hyper) {
  hyper.num_features = object.integer("num_features", 1, kLargestSize);
  hyper.num_heads = object.integer("num_heads", 1, kLargestSize);
  hyper.degrees = read_increasing(object, "degrees", smallest_degree, kLargestDegree);
  hyper.num_layers = object.integer("num_layers", 1, kLargestSize);
  hyper.radial_hidden = object.integer("radial_hidden", 1, kLargestSize);
  hyper.spherical_hidden = object.integer("spherical_hidden", 1, kLargestSize);
  hyper.layer_norm_epsilon = object.positive("layer_norm_epsilon");

  const auto require_equal_heads = [&](const char* key, int parts) {
    if (hyper.num_features % parts == 0) return;
    throw ModelError(object.name() + ".num_features: expected a multiple of the " + std::to_string(parts) + " heads that \"" + key +
                     "\" asks for, found " + std::to_string(hyper.num_features) + kConvertAgain);
  };
  require_equal_heads("num_heads", hyper.num_heads);
  require_equal_heads("degrees", hyper.num_degrees());
}

void read_layers(ObjectReader& object, Hyperparameters& hyper) {
  hyper.activation = object.choice("activation", kActivations);
  hyper.query_key_activation = object.choice("query_key_activation", kActivations);
  object.object("attention_normalization", [&](ObjectReader& normalization) {
    hyper.attention_normalization = normalization.choice("type", kAttentionNormalizations);
    if (hyper.attention_normalization == AttentionNormalization::constant) hyper.attention_normalizer = normalization.positive("value");
  });
  hyper.layer_norm_1 = object.flag("layer_norm_1");
  hyper.layer_norm_2 = object.flag("layer_norm_2");
  hyper.residual_mlp_1 = object.flag("residual_mlp_1");
  hyper.residual_mlp_2 = object.flag("residual_mlp_2");
  hyper.charge_embedding = object.flag("charge_embedding");
  hyper.spin_embedding = object.flag("spin_embedding");
}

// What models of 2023 have; absent keys stand for what came later.
void read_options_of_2023(ObjectReader& object, Hyperparameters& hyper) {
  if (object.has("layer_norm_position")) hyper.layer_norm_position = object.choice("layer_norm_position", kLayerNormPositions);
  if (object.has("residual_mlp_kind")) hyper.residual_mlp_kind = object.choice("residual_mlp_kind", kResidualMlpKinds);
  if (object.has("final_layer_norm")) hyper.final_layer_norm = object.flag("final_layer_norm");
  if (object.has("initial_coordinates")) {
    object.object("initial_coordinates", [&](ObjectReader& initial) {
      hyper.initial_coordinates = initial.choice("type", kInitialCoordinates);
      if (hyper.initial_coordinates == InitialCoordinates::neighbour_sum)
        hyper.initial_coordinates_normalizer = initial.positive("normalization");
    });
  }
}

// What is particular to the original paper; what it does not say is fixed there.
void read_options_of_2022(ObjectReader& object, Hyperparameters& hyper) {
  hyper.activation = Activation::silu;
  hyper.query_key_activation = Activation::identity;
  hyper.attention_normalization = AttentionNormalization::sqrt_head_width;
  hyper.parity = object.flag("parity");
  hyper.layer_norm_1 = hyper.layer_norm_2 = object.flag("layer_norm");
  hyper.coordinate_norm = object.flag("coordinate_norm");
  object.object_or_null("nonlocal", [&](ObjectReader& nonlocal) {
    hyper.nonlocal_attention = nonlocal.choice("type", kNonlocalAttentions);
    if (hyper.nonlocal_attention == NonlocalAttention::fixed) hyper.nonlocal_cutoff = nonlocal.positive("cutoff");
  });
  if (object.has("charge_embedding")) hyper.charge_embedding = object.flag("charge_embedding");
  if (object.has("spin_embedding")) hyper.spin_embedding = object.flag("spin_embedding");
}

void read_energy_head(ObjectReader& object, Hyperparameters& hyper) {
  object.object("energy_head", [&](ObjectReader& head) {
    hyper.energy_hidden = head.integer("hidden", 0, kLargestSize);
    hyper.energy_activation = head.choice("activation", kActivations);
  });
}

void read_heads(ObjectReader& object, Hyperparameters& hyper) {
  hyper.charge_head =
      object.object_or_null("charge_head", [&](ObjectReader& head) { hyper.charge_hidden = head.integer("hidden", 0, kLargestSize); });
  hyper.hirshfeld_head = object.object_or_null("hirshfeld_head", [&](ObjectReader& head) {
    hyper.hirshfeld_hidden = head.integer("hidden", 0, kLargestSize);
    hyper.hirshfeld_size = head.integer("size", 1, kLargestSize);
  });
}

void read_physics(ObjectReader& object, Hyperparameters& hyper) {
  hyper.zbl = object.object_or_null("zbl", [&](ObjectReader& zbl) {
    hyper.zbl_switch_on = zbl.not_negative("switch_on");
    hyper.zbl_switch_off = zbl.positive("switch_off");
    if (hyper.zbl_switch_off <= hyper.zbl_switch_on) zbl.refuse("switch_off", "a number above switch_on");
  });
  hyper.electrostatics = object.object_or_null(
      "electrostatics", [&](ObjectReader& electrostatics) { hyper.electrostatics_sigma = electrostatics.positive("sigma"); });
  hyper.dispersion = object.object_or_null("dispersion", [&](ObjectReader& dispersion) {
    require(dispersion, "type", "vdw_qdo");
    hyper.dispersion_damping_scale = dispersion.positive("damping_scale");
  });

  const auto require_head = [&](const char* term, bool is_on, const char* head, bool has_head) {
    if (is_on && !has_head) throw ModelError(object.name() + "." + term + ": needs \"" + head + "\", which is null" + kConvertAgain);
  };
  require_head("electrostatics", hyper.electrostatics, "charge_head", hyper.charge_head);
  require_head("dispersion", hyper.dispersion, "hirshfeld_head", hyper.hirshfeld_head);
}

// What people read and the engine does not.
void check_description(ObjectReader& document) {
  for (const char* key : {"name", "description", "license", "license_text"}) document.text(key);
  document.any_object("provenance");
  for (const Json& item : document.list("citation")) {
    if (!item.is_string()) document.refuse("citation", "a list of texts");
  }
}

double read_cutoff(ObjectReader& document, const char* key) {
  return document.value(key).is_null() ? std::numeric_limits<double>::infinity() : document.positive(key, kLargestLength);
}

// Files from before had one cutoff for all systems.
LongRangeSettings read_long_range(ObjectReader& document) {
  LongRangeSettings out;
  out.periodic = read_cutoff(document, "long_range_cutoff");
  out.molecules = document.has("long_range_cutoff_molecules") ? read_cutoff(document, "long_range_cutoff_molecules") : out.periodic;
  if (document.has("long_range_damping")) out.damping = document.positive("long_range_damping", kLargestLength);
  return out;
}

}  // namespace

ModelDocument read_document(const std::string& text) {
  const Json json = parse_json(text, "the model document");
  ObjectReader document(json, "");
  check_version(document);  // first: the keys of another version or architecture are not for this reader to judge
  ModelDocument out;
  out.hyper.architecture = document.choice("architecture", kArchitectures);
  document.refuse_unsupported_features();
  document.object("units", [](ObjectReader& units) {
    require(units, "energy", "eV");
    require(units, "length", "Angstrom");
    require(units, "charge", "e");
  });
  document.object("hyperparameters", [&](ObjectReader& object) {
    const bool original = out.hyper.architecture == Architecture::so3krates_2022;
    read_sizes(object, original ? 1 : 0, out.hyper);
    read_local_environment(object, out.hyper);
    read_energy_head(object, out.hyper);
    if (original) {
      read_options_of_2022(object, out.hyper);
      return;
    }
    read_layers(object, out.hyper);
    read_options_of_2023(object, out.hyper);
    read_heads(object, out.hyper);
    read_physics(object, out.hyper);
  });
  out.elements = read_increasing(document, "elements", 1, kLargestAtomicNumber);
  out.long_range = read_long_range(document);
  check_description(document);
  document.finish();
  return out;
}

}  // namespace so3md
