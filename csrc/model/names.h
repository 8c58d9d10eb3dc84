// Names of functions in model files, which training uses as well.
#pragma once

#include <utility>

#include "model/hyperparameters.h"

namespace so3md {

inline constexpr std::pair<const char*, CutoffFunction> kCutoffFunctions[] = {
    {"phys", CutoffFunction::phys},
    {"cosine", CutoffFunction::cosine},
    {"exponential", CutoffFunction::exponential},
    {"polynomial", CutoffFunction::polynomial},
};
inline constexpr std::pair<const char*, RadialBasis> kRadialBases[] = {
    {"bernstein", RadialBasis::bernstein},
    {"gaussian", RadialBasis::gaussian},
    {"bessel", RadialBasis::bessel},
    {"phys", RadialBasis::phys},
};
inline constexpr std::pair<const char*, Activation> kActivations[] = {
    {"identity", Activation::identity}, {"silu", Activation::silu}, {"tanh", Activation::tanh},
    {"gelu", Activation::gelu},         {"relu", Activation::relu},
};

}  // namespace so3md
