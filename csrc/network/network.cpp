#include "network/network.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/discard.h"
#include "common/index.h"
#include "common/resources.h"
#include "network/harmonics_table.h"
#include "network/layer_order.h"

namespace so3md {

namespace {

// Small enough to share the work of small systems, large enough that fetching a task costs nothing.
constexpr int kAtomsPerTask = kNodeBlock;

template <class Real>
void resize_rows(AlignedVector<Real>& array, int rows, int stride) {
  resize_discarding(array, static_cast<std::size_t>(rows) * static_cast<std::size_t>(stride));
}

template <class Real>
void to_rows(const Matrix& features, const Layout& layout, AlignedVector<Real>& rows) {
  rows.assign(index_of(features.rows) * index_of(layout.feature_stride), Real(0));
  for (int row = 0; row < features.rows; ++row)
    for (int f = 0; f < layout.features; ++f) rows[index_of(row * layout.feature_stride + f)] = static_cast<Real>(features(row, f));
}

// For filters that are kept: so much for each thread, but no more than this part of what there is when the network is made.
constexpr double kMostKeptBytes = 256.0 * (1 << 20), kMostOfMemory = 0.125;

double memory_for_filters(int threads) {
  return std::min(kMostKeptBytes * threads, kMostOfMemory * available_memory().value_or(std::numeric_limits<double>::infinity()));
}

}  // namespace

template <class Real>
Network<Real>::Network(std::shared_ptr<const Parameters<Real>> parameters, std::optional<bool> keep_filters, ThreadPool& pool)
    : parameters_(std::move(parameters)),
      keep_filters_(keep_filters),
      memory_for_filters_(memory_for_filters(pool.size())),
      kernels_(kernels<Real>()),
      pool_(pool),
      harmonics_(make_harmonics_table<Real>(parameters_->model().hyper)),
      keeps_inputs_(parameters_->layout.query_key_activation != Activation::identity || parameters_->layout.norm_input),
      scratch_(index_of(pool.size())) {
  const std::size_t layers = parameters_->layers.size();
  x_.resize(layers + 1);
  chi_.resize(layers + 1);
  projected_.resize(layers);
  projection_.resize(layers);
  kept_.resize(layers);
  record_.resize(layers);
  x_attended_.resize(layers);
  chi_attended_.resize(layers);
}

template <class Real>
void Network<Real>::allocate(int owned, int slots) {
  if (owned == owned_ && slots == slots_) return;
  owned_ = owned;
  slots_ = slots;
  const Layout& layout = parameters_->layout;
  const int layers = static_cast<int>(parameters_->layers.size());
  for (int layer = 0; layer <= layers; ++layer) {
    if (layer == 0 || keeps_inputs_) resize_rows(x_[index_of(layer)], slots, layout.feature_stride);
    resize_rows(chi_[index_of(layer)], slots, layout.chi_stride);
  }
  for (int layer = 0; layer < layers; ++layer) {
    if (!is_by_species(layer)) {
      resize_rows(projection_[index_of(layer)], slots, layout.projection_stride);
      if (layout.norm_input) resize_rows(projected_[index_of(layer)], slots, layout.feature_stride);
    }
    resize_rows(record_[index_of(layer)], (owned + kNodeBlock - 1) / kNodeBlock, layout.record.size);
    resize_rows(x_attended_[index_of(layer)], owned, layout.feature_stride);
    resize_rows(chi_attended_[index_of(layer)], owned, layout.chi_stride);
  }
  std::fill(chi_[0].begin(), chi_[0].end(), Real(0));
  resize_rows(sums_, slots, layout.features_padded);
  resize_rows(chi_sums_, slots, layout.chi_stride);
  resize_rows(gradient_x_, owned, layout.feature_stride);
  if (parameters_->model().hyper.c6_head) resize_rows(c6_rows_, owned, layout.feature_stride);
  resize_rows(gradient_chi_, owned, layout.chi_stride);
  if (parameters_->first_layer_by_species)
    resize_rows(gradient_projected_, slots, static_cast<int>(parameters_->model().elements.size()) * layout.heads);
}

// Whether the filters of all layers stay in memory until the adjoint. Results are the same.
template <class Real>
bool Network<Real>::keeps_filters() const {
  if (!parameters_->tabulated) return false;
  if (keep_filters_) return *keep_filters_;
  const std::size_t layers = kept_.size() - (is_by_species(0) ? 1 : 0);
  const std::size_t numbers = layers * edges_.num_pairs() * index_of(parameters_->layout.kept_size);
  return static_cast<double>(numbers * sizeof(Real)) <= memory_for_filters_;
}

template <class Real>
void Network<Real>::allocate_rim() {
  const Layout& layout = parameters_->layout;
  const PairBlocks& blocks = edges_.pair_blocks();
  const std::size_t size = kernels_.scratch_size(layout, blocks.most_rows());
  for (auto& scratch : scratch_)
    if (scratch.size() < size) scratch.resize(size);
  const bool keep = keeps_filters();
  for (std::size_t layer = 0; layer < kept_.size(); ++layer) {
    if (keep && !is_by_species(static_cast<int>(layer)))
      resize_discarding(kept_[layer], edges_.num_pairs() * index_of(layout.kept_size));
    else
      kept_[layer] = {};
  }
  resize_rows(rim_features_, blocks.num_rim_rows(), std::max(layout.feature_stride, layout.features_padded));
  resize_rows(rim_chi_, blocks.num_rim_rows(), layout.chi_stride);
  resize_discarding(rim_forces_, 3 * index_of(blocks.num_rim_rows()));
  resize_discarding(rim_virial_, 9 * index_of(blocks.num_rim_rows()));
}

// What depends on the composition alone, which seldom changes from one evaluation to the next.
template <class Real>
void Network<Real>::embed_species(const Composition& composition) {
  if (!species_rows_.empty() && composition == composition_) return;
  const Layout& layout = parameters_->layout;
  Matrix features = species_features(parameters_->model(), composition);
  if (parameters_->model().hyper.residual_scalars) {
    to_rows(features, layout, embedded_);
    const LayerWeights& first = parameters_->model().layers.front();
    for (double& value : features.data) value *= first.input_scale + first.embedding_scale;
  }
  if (parameters_->first_layer_by_species) first_layer_tables_.update(*parameters_, composition, features);
  to_rows(features, layout, species_rows_);
  composition_ = composition;
}

template <class Real>
void Network<Real>::embed(const Composition& composition) {
  embed_species(composition);
  const std::ptrdiff_t stride = parameters_->layout.feature_stride;
  for (int slot = 0; slot < slots_; ++slot)
    std::copy_n(species_rows_.data() + species_[slot] * stride, stride, x_[0].data() + slot * stride);
  if (parameters_->first_layer_by_species) first_layer_ = first_layer_tables_.view(species_);
}

template <class Real>
LayerStep<Real> Network<Real>::step(int layer) {
  const std::size_t at = index_of(layer);
  const Layout& layout = parameters_->layout;
  LayerStep<Real> out;
  out.layout = &layout;
  out.parameters = &parameters_->layers[at];
  out.radial_functions = &parameters_->radial_functions;
  out.harmonics = &harmonics_;
  out.edges = edges_.view();
  const PairBlocks& blocks = edges_.pair_blocks();
  out.rim.blocks = blocks.blocks().data();
  out.rim.slots = blocks.rim_slots().data();
  out.rim.gathered_first = blocks.gathered_first().data();
  out.rim.gathered = blocks.gathered().data();
  out.rim.features = rim_features_.data();
  out.rim.chi = rim_chi_.data();
  out.rim.forces = rim_forces_.data();
  out.rim.virial = rim_virial_.data();
  out.first_layer = is_by_species(layer) ? &first_layer_ : nullptr;
  out.species = species_;
  out.embedded = embedded_.empty() || layer + 1 == num_layers() ? nullptr : embedded_.data();
  out.x = x_[keeps_inputs_ ? at : 0].data();
  out.x_next = x_[keeps_inputs_ ? at + 1 : 0].data();
  out.projected = layout.norm_input ? projected_[at].data() : out.x;
  out.projection = projection_[at].data();
  out.chi = chi_[at].data();
  out.x_attended = x_attended_[at].data();
  out.chi_attended = chi_attended_[at].data();
  out.chi_next = chi_[at + 1].data();
  out.kept = kept_[at].empty() ? nullptr : kept_[at].data();
  out.record = record_[at].data();
  out.sum_features = sums_.data();
  out.sum_chi = chi_sums_.data();
  out.gradient_attended = sums_.data();
  out.gradient_chi_attended = chi_sums_.data();
  out.gradient_projected = gradient_projected_.data();
  out.gradient_x = gradient_x_.data();
  out.gradient_chi = gradient_chi_.data();
  return out;
}

template <class Real>
void Network<Real>::run(Kernel kernel, const LayerStep<Real>& step, int begin, int end, int grain) {
  pool_.parallel_for(end - begin, grain, [&](int first, int last, int thread) {
    kernel(step, begin + first, begin + last, scratch_[index_of(thread)].data());
  });
}

// The first step of the attention: of what needs no rows of other processes, or of the rest.
template <class Real>
void Network<Real>::attend(const LayerStep<Real>& step, bool forward, bool interior) {
  if (forward && step.first_layer != nullptr) {
    run(kernels_.first_layer_forward, step, interior ? 0 : interior_, interior ? interior_ : owned_, kAtomsPerTask);
    return;
  }
  const Kernel back = step.first_layer != nullptr ? kernels_.first_layer_adjoint : kernels_.attention_adjoint;
  const PairBlocks& blocks = edges_.pair_blocks();
  const int all = static_cast<int>(blocks.blocks().size());
  run(forward ? kernels_.attention_forward : back, step, interior ? 0 : blocks.num_interior(), interior ? blocks.num_interior() : all, 1);
}

template <class Real>
void Network<Real>::project(int layer, const LayerStep<Real>& s, int begin, int end) {
  const Layout& layout = parameters_->layout;
  if (s.first_layer != nullptr) return;
  pool_.parallel_for(end - begin, kAtomsPerTask, [&](int first, int last, int) {
    const auto row = static_cast<std::ptrdiff_t>(begin + first);
    const Real* projected = s.projected + row * layout.feature_stride;
    if (layout.norm_input)
      kernels_.normalise(layout, s.parameters->norm1, last - first, s.x + row * layout.feature_stride,
                         projected_[index_of(layer)].data() + row * layout.feature_stride);
    kernels_.project(layout, *s.parameters, projected, last - first, projection_[index_of(layer)].data() + row * layout.projection_stride);
  });
}

template <class Real>
void Network<Real>::attend_boundary(int, const LayerStep<Real>& step, HaloExchange&, Stopwatch&) {
  attend(step, true, false);
  if (step.first_layer == nullptr) run(kernels_.gather_forward, step, 0, owned_, kAtomsPerTask);
}

template <class Real>
void Network<Real>::attend_boundary_adjoint(int layer, LayerStep<Real>& step, HaloExchange&, Stopwatch&) {
  attend(step, false, false);
  if (step.first_layer != nullptr) step.gradient_x = nullptr;
  run(kernels_.gather_adjoint, step, 0, owned_, kAtomsPerTask);
  if (parameters_->layout.norm_input && layer > 0) run(kernels_.input_norm_adjoint, step, 0, owned_, kAtomsPerTask);
}

template <class Real>
void Network<Real>::node_forward(const LayerStep<Real>& step) {
  run(kernels_.node_forward, step, 0, owned_, kAtomsPerTask);
}

template <class Real>
void Network<Real>::node_adjoint(const LayerStep<Real>& step) {
  run(kernels_.node_adjoint, step, 0, owned_, kAtomsPerTask);
}

template <class Real>
std::array<Rows<Real>, 2> Network<Real>::forward_rows(const LayerStep<Real>& step) const {
  const Layout& layout = parameters_->layout;
  return {{{step.x_next, layout.features, layout.feature_stride}, {step.chi_next, layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
std::array<Rows<Real>, 2> Network<Real>::adjoint_rows(const LayerStep<Real>& step) const {
  const Layout& layout = parameters_->layout;
  const int projected = step.first_layer != nullptr ? step.first_layer->num_species * layout.heads : 0;
  return {{step.first_layer != nullptr ? Rows<Real>{step.gradient_projected, projected, projected}
                                       : Rows<Real>{step.gradient_attended, layout.features_padded, layout.features_padded},
           {step.gradient_chi_attended, layout.num_coordinates, layout.chi_stride}}};
}

// chi before the first layer (eq. 53), where it does not start at zero.
template <class Real>
void Network<Real>::initial_forward() {
  LayerStep<Real> s = step(0);
  s.chi_next = chi_[0].data();
  run(kernels_.initial_forward, s, 0, owned_, kAtomsPerTask);
}

template <class Real>
std::array<Rows<Real>, 1> Network<Real>::initial_rows() {
  const Layout& layout = parameters_->layout;
  return {{{chi_[0].data(), layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
std::array<Rows<Real>, 1> Network<Real>::initial_adjoint_rows() {
  const Layout& layout = parameters_->layout;
  std::copy(gradient_chi_.begin(), gradient_chi_.end(), chi_sums_.begin());
  return {{{chi_sums_.data(), layout.num_coordinates, layout.chi_stride}}};
}

// From the gradient on the coordinates before the first layer to forces.
template <class Real>
void Network<Real>::initial_adjoint() {
  LayerStep<Real> s = adjoint_step(0);
  run(kernels_.initial_adjoint, s, 0, static_cast<int>(edges_.pair_blocks().blocks().size()), 1);
  s.gradient_x = nullptr;
  run(kernels_.gather_adjoint, s, 0, owned_, kAtomsPerTask);
}

template <class Real>
ReadoutStep<Real> Network<Real>::readout_step(Readouts& out) {
  AlignedVector<Real>& x = x_[keeps_inputs_ ? x_.size() - 1 : 0];
  ReadoutStep<Real> step;
  step.layout = &parameters_->layout;
  step.parameters = parameters_.get();
  step.species = species_;
  step.x = x.data();
  // Memory that nothing else uses between the last layer and the adjoint of it.
  step.energy_row = gradient_x_.data();
  step.charge_row = sums_.data();
  step.c6_row = c6_rows_.data();
  step.hirshfeld_row = x.data();
  step.energy = out.energy.data();
  step.charge = out.charge.empty() ? nullptr : out.charge.data();
  step.hirshfeld = out.hirshfeld.empty() ? nullptr : out.hirshfeld.data();
  step.c6 = out.c6.empty() ? nullptr : out.c6.data();
  step.distance = out.distance.empty() ? nullptr : out.distance.data();
  return step;
}

template <class Real>
void Network<Real>::forward(const Domain& domain, const int* species, const Composition& composition, const Systems&, HaloExchange& halo,
                            Readouts& out, Stopwatch& watch, std::vector<LayerFeatures>* features) {
  species_ = species;
  if (features != nullptr && !keeps_inputs_) {
    keeps_inputs_ = true;
    owned_ = -1;  // allocate the inputs too
  }
  allocate(domain.n_owned, domain.n_feature_slots());
  allocate_rim();
  interior_ = domain.n_interior;
  embed(composition);
  watch.lap("embedding");
  LayerOrder::forward(*this, halo, watch, features);
  const auto owned = index_of(owned_);
  out.energy.resize(owned);
  out.charge.resize(parameters_->model().hyper.charge_head ? owned : 0);
  out.hirshfeld.resize(parameters_->model().hyper.hirshfeld_head ? owned : 0);
  out.c6.resize(parameters_->model().hyper.c6_head ? owned : 0);
  out.distance.resize(parameters_->model().uncertainty.given() ? owned : 0);
  const ReadoutStep<Real> readout = readout_step(out);
  pool_.parallel_for(owned_, kAtomsPerTask, [&](int begin, int end, int thread) {
    kernels_.readout_forward(readout, begin, end, scratch_[index_of(thread)].data());
  });
  watch.lap("readouts");
}

template <class Real>
void Network<Real>::adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch) {
  Readouts unused;
  ReadoutStep<Real> readout = readout_step(unused);
  readout.energy_gradient = gradients.energy.data();
  readout.charge_gradient = gradients.charge.empty() ? nullptr : gradients.charge.data();
  readout.hirshfeld_gradient = gradients.hirshfeld.empty() ? nullptr : gradients.hirshfeld.data();
  readout.c6_gradient = gradients.c6.empty() ? nullptr : gradients.c6.data();
  readout.gradient_x = gradient_x_.data();
  pool_.parallel_for(owned_, kAtomsPerTask, [&](int begin, int end, int thread) {
    kernels_.readout_adjoint(readout, begin, end, scratch_[index_of(thread)].data());
  });
  std::fill(gradient_chi_.begin(), gradient_chi_.end(), Real(0));
  watch.lap("readouts");
  forces_ = forces;
  virial_ = virial;
  LayerOrder::adjoint(*this, halo, watch);
}

template <class Real>
LayerStep<Real> Network<Real>::adjoint_step(int layer) {
  LayerStep<Real> out = step(layer);
  out.forces = forces_;
  out.virial = virial_;
  return out;
}

template <class Real>
void Network<Real>::record(int layer, LayerFeatures& out) const {
  const std::size_t at = index_of(layer);
  const LayerRows<Real> rows = {x_[at].data(),     chi_[at].data(),    x_attended_[at].data(), chi_attended_[at].data(),
                                x_[at + 1].data(), chi_[at + 1].data()};
  out = without_padding(rows, owned_, parameters_->layout);
}

template class Network<float>;
template class Network<double>;

}  // namespace so3md
