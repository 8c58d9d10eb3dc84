// The kernels of training as C functions, which python/so3md/training/native_steps.py calls with the addresses of PyTorch's arrays:
// the structs of training/kernels.h, filled field by field as so3md_training_fields() says.
#include <cstddef>
#include <iterator>
#include <string>
#include <type_traits>
#include <vector>

#include "training/kernels.h"

namespace {

template <class Real>
Real* scratch(const so3md::training::RadialFilterStep<Real>& step) {
  // Kept for the next step: fresh memory costs more than what is done with it.
  thread_local std::vector<Real> memory;
  const std::size_t size = so3md::training::kernels<Real>().scratch_size(step);
  if (memory.size() < size) memory.resize(size);
  return memory.data();
}

struct Field {
  const char* name;
  std::size_t offset;
  bool pointer;
};

// Sizes and addresses do not depend on the type of number.
using so3md::training::EdgeSumStep;
using so3md::training::RadialFilterStep;
#define SO3MD_FIELD(field) {#field, offsetof(Step, field), std::is_pointer_v<decltype(Step::field)>}

// A line "name offset kind" for each field: an address, or a number.
template <std::size_t n>
std::string lines(const Field (&fields)[n]) {
  std::string text;
  for (const Field& field : fields)
    text += std::string(field.name) + " " + std::to_string(field.offset) + (field.pointer ? " address\n" : " number\n");
  return text;
}

std::string radial_filter_fields() {
  using Step = RadialFilterStep<float>;
  static constexpr Field fields[] = {SO3MD_FIELD(pairs),      SO3MD_FIELD(basis_size), SO3MD_FIELD(hidden),     SO3MD_FIELD(features),
                                     SO3MD_FIELD(basis),      SO3MD_FIELD(weight1),    SO3MD_FIELD(bias1),      SO3MD_FIELD(weight2),
                                     SO3MD_FIELD(bias2),      SO3MD_FIELD(values),     SO3MD_FIELD(slope),      SO3MD_FIELD(bend),
                                     SO3MD_FIELD(result),     SO3MD_FIELD(gradient),   SO3MD_FIELD(adjoints),   SO3MD_FIELD(distances),
                                     SO3MD_FIELD(by_weight1), SO3MD_FIELD(by_bias1),   SO3MD_FIELD(by_weight2), SO3MD_FIELD(by_basis)};
  static_assert(sizeof(Step) == std::size(fields) * sizeof(void*) && sizeof(Step) == sizeof(RadialFilterStep<double>),
                "a field is missing");
  return lines(fields);
}

std::string edge_sum_fields() {
  using Step = EdgeSumStep<float>;
  static constexpr Field fields[] = {SO3MD_FIELD(pairs),
                                     SO3MD_FIELD(atoms),
                                     SO3MD_FIELD(features),
                                     SO3MD_FIELD(heads),
                                     SO3MD_FIELD(coordinate_heads),
                                     SO3MD_FIELD(filter_stride),
                                     SO3MD_FIELD(first),
                                     SO3MD_FIELD(second),
                                     SO3MD_FIELD(projections),
                                     SO3MD_FIELD(filters),
                                     SO3MD_FIELD(factor),
                                     SO3MD_FIELD(scores),
                                     SO3MD_FIELD(coordinate_scores),
                                     SO3MD_FIELD(sums),
                                     SO3MD_FIELD(by_sums),
                                     SO3MD_FIELD(by_coordinate_scores),
                                     SO3MD_FIELD(by_alpha),
                                     SO3MD_FIELD(by_projections),
                                     SO3MD_FIELD(by_filters),
                                     SO3MD_FIELD(projection_tangents),
                                     SO3MD_FIELD(filter_tangents),
                                     SO3MD_FIELD(factor_tangents),
                                     SO3MD_FIELD(alpha_tangents),
                                     SO3MD_FIELD(coordinate_score_tangents),
                                     SO3MD_FIELD(sum_tangents),
                                     SO3MD_FIELD(gradient),
                                     SO3MD_FIELD(coordinate_gradient),
                                     SO3MD_FIELD(projection_gradient),
                                     SO3MD_FIELD(filter_gradient)};
  static_assert(sizeof(Step) == std::size(fields) * sizeof(void*) && sizeof(Step) == sizeof(EdgeSumStep<double>), "a field is missing");
  return lines(fields);
}
#undef SO3MD_FIELD

}  // namespace

#define SO3MD_EXPORT extern "C" __attribute__((visibility("default")))

#define SO3MD_DEFINE_TRAINING(Real)                                                                     \
  SO3MD_EXPORT void so3md_filter_forward_##Real(const so3md::training::RadialFilterStep<Real>* step) {  \
    so3md::training::kernels<Real>().filter_forward(*step, scratch(*step));                             \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_filter_gradient_##Real(const so3md::training::RadialFilterStep<Real>* step) { \
    so3md::training::kernels<Real>().filter_gradient(*step, scratch(*step));                            \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_forward_##Real(const so3md::training::EdgeSumStep<Real>* step) {         \
    so3md::training::kernels<Real>().sums_forward(*step);                                               \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_adjoint_##Real(const so3md::training::EdgeSumStep<Real>* step) {         \
    so3md::training::kernels<Real>().sums_adjoint(*step);                                               \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_tangent_##Real(const so3md::training::EdgeSumStep<Real>* step) {         \
    so3md::training::kernels<Real>().sums_tangent(*step);                                               \
  }                                                                                                     \
  SO3MD_EXPORT void so3md_sums_gradient_##Real(const so3md::training::EdgeSumStep<Real>* step) {        \
    so3md::training::kernels<Real>().sums_gradient(*step);                                              \
  }

SO3MD_DEFINE_TRAINING(float)
SO3MD_DEFINE_TRAINING(double)

/// The fields of RadialFilterStep or EdgeSumStep, a line for each: its name, its offset in bytes, and "address" or "number" (int64). Null
/// for another name.
SO3MD_EXPORT const char* so3md_training_fields(const char* name) {
  static const std::string radial_filter = radial_filter_fields(), edge_sum = edge_sum_fields();
  if (name == std::string("RadialFilterStep")) return radial_filter.c_str();
  if (name == std::string("EdgeSumStep")) return edge_sum.c_str();
  return nullptr;
}
