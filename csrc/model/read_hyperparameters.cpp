#include "model/read_hyperparameters.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "common/largest_length.h"
#include "model/names.h"
#include "model/strict_json.h"

namespace so3md {

namespace {

constexpr std::uint64_t kNewestFormat = 2;
constexpr std::uint64_t kSecondGenerationFormat = 2;  // of files of models of the second generation of SO3LR, and not before
constexpr int kLargestSize = 1 << 16;                 // of any width or count: keeps every product of two within 64 bits
constexpr int kLargestDegree = 8;
constexpr std::size_t kMostDegrees = 9;  // repeated ones included
constexpr int kLargestAtomicNumber = 118;
constexpr double kLargestCutoff = 100.0;  // A, of a network: within it, a liquid has 400,000 neighbours

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
constexpr std::pair<const char*, bool> kRepulsions[] = {{"nlh", true}};
constexpr std::pair<const char*, NonlocalAttention> kNonlocalAttentions[] = {
    {"dynamic", NonlocalAttention::dynamic},
    {"static", NonlocalAttention::fixed},
};

// The only value that a key may have, as a choice of one.
void require(ObjectReader& object, const char* key, const char* expected) {
  const std::pair<const char*, bool> only[] = {{expected, true}};
  object.choice(key, only);
}

std::uint64_t read_version(ObjectReader& document) {
  const Json& version = document.value("format_version");
  const std::uint64_t found = version.is_number_unsigned() ? version.get<std::uint64_t>() : 0;
  if (found >= 1 && found <= kNewestFormat) return found;
  if (found > kNewestFormat) {
    throw ModelError("format_version: expected 1 or " + std::to_string(kNewestFormat) + ", found " + shown(version) +
                     ": the file is from a newer so3md: update so3md");
  }
  document.refuse("format_version", "1 or " + std::to_string(kNewestFormat));
}

enum class Repeats { refused, allowed };

std::vector<int> read_increasing(ObjectReader& object, const char* key, int low, int high, Repeats repeats = Repeats::refused) {
  const bool strictly = repeats == Repeats::refused;
  const std::string range = "integers from " + std::to_string(low) + " to " + std::to_string(high);
  const std::string expected = strictly ? "a list of strictly increasing " + range
                                        : "a list of at most " + std::to_string(kMostDegrees) + " " + range + " that do not decrease";
  const Json& list = object.value(key);
  if (!list.is_array()) object.refuse(key, expected);
  std::vector<int> out;
  for (const Json& item : list) {
    // The order of the conditions matters: a number beyond `high` may not fit an int.
    const bool fits = item.is_number_unsigned() && item.get<std::uint64_t>() <= static_cast<std::uint64_t>(high);
    const auto follows = [&](int number) { return out.empty() || number > out.back() || (!strictly && number == out.back()); };
    if (!fits || item.get<int>() < low || !follows(item.get<int>())) object.refuse(key, expected);
    out.push_back(item.get<int>());
  }
  if (out.empty() || (!strictly && out.size() > kMostDegrees)) object.refuse(key, expected);
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
  const Repeats repeats = hyper.architecture == Architecture::so3krates ? Repeats::allowed : Repeats::refused;
  hyper.degrees = read_increasing(object, "degrees", smallest_degree, kLargestDegree, repeats);
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

void read_switch(ObjectReader& term, Hyperparameters& hyper) {
  hyper.zbl_switch_on = term.not_negative("switch_on");
  hyper.zbl_switch_off = term.positive("switch_off");
  if (hyper.zbl_switch_off <= hyper.zbl_switch_on) term.refuse("switch_off", "a number above switch_on");
}

// What the second generation of SO3LR has; absent keys stand for the first.
void read_second_generation(ObjectReader& object, Hyperparameters& hyper) {
  if (object.has("rms_norm")) hyper.rms_norm = object.flag("rms_norm");
  if (object.has("normalize_query_key")) hyper.normalize_query_key = object.flag("normalize_query_key");
  if (object.has("residual_scalars")) hyper.residual_scalars = object.flag("residual_scalars");
  if (object.has("c6_head")) {
    hyper.c6_head =
        object.object_or_null("c6_head", [&](ObjectReader& head) { hyper.c6_hidden = head.integer("hidden", 0, kLargestSize); });
  }
  if (object.has("repulsion")) {
    hyper.nlh = object.object_or_null("repulsion", [&](ObjectReader& repulsion) {
      repulsion.choice("type", kRepulsions);
      read_switch(repulsion, hyper);
    });
  }
  const std::string& name = object.name();
  if (hyper.nlh && hyper.zbl)
    throw ModelError(name + ".repulsion: a model has one repulsion, but " + name + ".zbl is there too" + kConvertAgain);
  if (hyper.c6_head && !hyper.dispersion) throw ModelError(name + ".c6_head: needs " + name + ".dispersion, which is null" + kConvertAgain);
  if (hyper.rms_norm && hyper.final_layer_norm)
    throw ModelError(name + ".final_layer_norm: there is none in models with " + name + ".rms_norm" + kConvertAgain);
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
    if ((hyper.simple_hirshfeld = head.has("type"))) require(head, "type", "simple");
    hyper.hirshfeld_size = hyper.simple_hirshfeld ? 1 : head.integer("size", 1, kLargestSize);
  });
}

void read_physics(ObjectReader& object, Hyperparameters& hyper) {
  hyper.zbl = object.object_or_null("zbl", [&](ObjectReader& zbl) { read_switch(zbl, hyper); });
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

std::optional<UncertaintyCalibration> read_uncertainty(ObjectReader& document, const Hyperparameters& hyper) {
  if (!document.has("uncertainty")) return std::nullopt;
  UncertaintyCalibration out;
  document.object("uncertainty", [&](ObjectReader& object) {
    require(object, "type", "last_layer");
    out.scale = object.positive("scale");
    out.exponent = object.not_negative("exponent");
    object.any_object("origin");
  });
  if (hyper.architecture != Architecture::so3krates || hyper.energy_hidden == 0)
    document.refuse("uncertainty", "no such key: it needs the architecture so3krates and an energy head with a hidden layer");
  return out;
}

}  // namespace

std::string second_generation(const Hyperparameters& hyper) {
  if (hyper.rms_norm) return "rms_norm";
  if (hyper.normalize_query_key) return "normalize_query_key";
  if (hyper.residual_scalars) return "residual_scalars";
  if (hyper.c6_head) return "c6_head";
  if (hyper.nlh) return "repulsion";
  if (hyper.simple_hirshfeld) return "simple hirshfeld_head";
  const std::vector<int>& degrees = hyper.degrees;
  return std::adjacent_find(degrees.begin(), degrees.end()) == degrees.end() ? "" : "repeated degrees";
}

ModelDocument read_document(const std::string& text) {
  const Json json = parse_json(text, "the model document");
  ObjectReader document(json, "");
  const std::uint64_t version =
      read_version(document);  // first: the keys of another version or architecture are not for this reader to judge
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
    read_second_generation(object, out.hyper);
  });
  const std::string newer = second_generation(out.hyper);
  if (!newer.empty() && version < kSecondGenerationFormat) document.refuse("format_version", "2 (hyperparameters: " + newer + ")");
  out.elements = read_increasing(document, "elements", 1, kLargestAtomicNumber);
  out.long_range = read_long_range(document);
  out.uncertainty = read_uncertainty(document, out.hyper);
  check_description(document);
  document.finish();
  return out;
}

}  // namespace so3md
