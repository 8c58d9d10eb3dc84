#include "paper2022/network.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/index.h"
#include "network/harmonics_table.h"
#include "paper2022/nonlocal_sums.h"

namespace so3md::paper2022 {

namespace {

constexpr int kCentresPerTask = 8, kBlockPairsPerTask = 1;

template <class Real>
void resize_rows(AlignedVector<Real>& array, int rows, int stride) {
  array.assign(index_of(rows) * index_of(stride), Real(0));
}

}  // namespace

template <class Real>
Network<Real>::Network(std::shared_ptr<const Parameters<Real>> parameters, bool skip_nonlocal, ThreadPool& pool)
    : parameters_(std::move(parameters)),
      kernels_(kernels<Real>()),
      skip_nonlocal_(skip_nonlocal),
      pool_(pool),
      harmonics_(make_harmonics_table<Real>(parameters_->model().hyper)),
      atoms_(*parameters_),
      species_products_(*parameters_),
      scratch_(index_of(pool.size())) {
  const std::size_t layers = parameters_->layers.size();
  x_.resize(layers + 1);
  chi_.resize(layers + 1);
  x_attended_.resize(layers);
  chi_attended_.resize(layers);
  radius_.resize(layers);
  for (auto& scratch : scratch_) scratch.resize(kernels_.scratch_size(*parameters_));
}

template <class Real>
template <class Kernel, class Step>
void Network<Real>::run(Kernel kernel, const Step& step, int count, int grain) {
  pool_.parallel_for(count, grain, [&](int begin, int end, int thread) { kernel(step, begin, end, scratch_[index_of(thread)].data()); });
}

template <class Real>
void Network<Real>::allocate(int owned, int slots) {
  if (owned == owned_ && slots == slots_) return;
  owned_ = owned;
  slots_ = slots;
  const Layout& layout = parameters_->layout;
  for (std::size_t layer = 0; layer < x_.size(); ++layer) {
    resize_rows(x_[layer], slots, layout.feature_stride);
    resize_rows(chi_[layer], slots, layout.chi_stride);
  }
  for (std::size_t layer = 0; layer < radius_.size(); ++layer) {
    resize_rows(x_attended_[layer], owned, layout.feature_stride);
    resize_rows(chi_attended_[layer], owned, layout.chi_stride);
    if (nonlocal()) radius_[layer].assign(index_of(slots), 0.0);
  }
  resize_rows(weight_, slots, 1);
  resize_rows(projection_, slots, layout.projection_stride);
  resize_rows(sum_features_, owned, layout.features_padded);
  resize_rows(sum_chi_, owned, layout.chi_stride);
  resize_rows(gradient_x_, owned, layout.feature_stride);
  resize_rows(gradient_chi_, slots, layout.chi_stride);
  resize_rows(gradient_attended_, slots, layout.features_padded);
  resize_rows(gradient_chi_attended_, slots, layout.chi_stride);
  resize_rows(gradient_projection_, owned, layout.projection_stride);
  log_sum_.assign(index_of(owned), 0.0);
  gradient_softmax_.assign(index_of(owned), 0.0);
}

template <class Real>
void Network<Real>::embed(const int* species, const Matrix& features) {
  const Layout& layout = parameters_->layout;
  for (int slot = 0; slot < slots_; ++slot)
    for (int f = 0; f < layout.features; ++f)
      x_[0][index_of(slot) * index_of(layout.feature_stride) + index_of(f)] = static_cast<Real>(features(species[slot], f));
}

template <class Real>
InitialStep<Real> Network<Real>::initial_step() {
  InitialStep<Real> out;
  out.layout = &parameters_->layout;
  out.harmonics = &harmonics_;
  out.edges = edges_.view();
  out.chi = chi_[0].data();
  out.weight = weight_.data();
  out.gradient = gradient_chi_.data();
  return out;
}

template <class Real>
LayerStep<Real> Network<Real>::step(int layer) {
  const std::size_t at = index_of(layer);
  LayerStep<Real> out;
  out.layout = &parameters_->layout;
  out.parameters = &parameters_->layers[at];
  out.all_parameters = parameters_.get();
  out.harmonics = &harmonics_;
  out.edges = edges_.view();
  out.x = x_[at].data();
  out.chi = chi_[at].data();
  out.projection = projection_.data();
  out.radius = nonlocal() ? radius_[at].data() : nullptr;
  out.sum_features = sum_features_.data();
  out.sum_chi = sum_chi_.data();
  out.x_attended = x_attended_[at].data();
  out.chi_attended = chi_attended_[at].data();
  out.x_next = x_[at + 1].data();
  out.chi_next = chi_[at + 1].data();
  out.gradient_x = gradient_x_.data();
  out.gradient_chi = gradient_chi_.data();
  out.gradient_attended = gradient_attended_.data();
  out.gradient_chi_attended = gradient_chi_attended_.data();
  out.gradient_projection = gradient_projection_.data();
  out.gradient_softmax = gradient_softmax_.data();
  return out;
}

template <class Real>
NonlocalStep<Real> Network<Real>::nonlocal_step(const LayerStep<Real>& layer) {
  NonlocalStep<Real> out = atoms_.view();
  out.layer = layer;
  if (is_first(layer)) out.by_species = species_products_.rows();
  out.skip = skip_nonlocal_;
  out.log_sum = log_sum_.data();
  out.evaluated = evaluated_.data();
  out.measured = measured_.data();
  ++searches_;
  return out;
}

template <class Real>
void Network<Real>::project(const LayerStep<Real>& step) {
  pool_.parallel_for(slots_, kAtomsPerTask, [&](int begin, int end, int) { kernels_.project(step, begin, end, projection_.data()); });
}

template <class Real>
void Network<Real>::fill_atoms(const LayerStep<Real>& step, HaloExchange& halo) {
  atoms_.fill(step.chi, halo, pool_);
  if (!is_first(step)) atoms_.fill_query_key(projection_.data(), halo, pool_);
}

// The normalisers of the softmax of every owned atom (eq. 64), and from them the radius of its ball.
template <class Real>
void Network<Real>::normalise(int layer, NonlocalStep<Real>& step) {
  run(kernels_.normalise, step, atoms_.num_centres(), kCentresPerTask);
  std::vector<double>& radius = radius_[index_of(layer)];
  for (int i = 0; i < owned_; ++i) radius[index_of(i)] = log_sum_[index_of(i)] + atoms_.log_cutoff()[index_of(i)];
}

// Pairs of blocks, round after round; then add(step, sums of an atom, its row) for the owned atoms.
template <class Real>
template <class Kernel, class Add>
void Network<Real>::run_rounds(Kernel kernel, NonlocalStep<Real> step, const NonlocalSums& at, const Add& add) {
  pair_sums_.assign(index_of(atoms_.num_places()) * index_of(at.width), 0.0);
  step.sums = pair_sums_.data();
  for (int round = 0; round < atoms_.num_rounds(); ++round) {
    atoms_.set_round(round, block_pairs_);
    step.pairs = block_pairs_.data();
    run(kernel, step, static_cast<int>(block_pairs_.size()), kBlockPairsPerTask);
  }
  pool_.parallel_for(atoms_.num_centres(), kAtomsPerTask, [&](int begin, int end, int) {
    for (int k = begin; k < end; ++k) {
      const NonlocalCentre& centre = atoms_.centres()[index_of(k)];
      add(step.layer, at, pair_sums_.data() + index_of(centre.place) * index_of(at.width), centre.owned);
    }
  });
}

template <class Real>
void Network<Real>::nonlocal_forward(const LayerStep<Real>& step) {
  atoms_.fill_radius(step.radius);
  run_rounds(kernels_.nonlocal_forward, nonlocal_step(step), forward_sums(parameters_->layout), add_forward_sums<Real>);
}

template <class Real>
std::array<Rows<Real>, 2> Network<Real>::initial_rows() {
  const Layout& layout = parameters_->layout;
  return {{{chi_[0].data(), layout.num_coordinates, layout.chi_stride}, {weight_.data(), 1, 1}}};
}

template <class Real>
std::array<Rows<Real>, 2> Network<Real>::forward_rows(const LayerStep<Real>& step) const {
  const Layout& layout = parameters_->layout;
  return {{{step.x_next, layout.features, layout.feature_stride}, {step.chi_next, layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
void Network<Real>::attend_boundary(int layer, const LayerStep<Real>& step, HaloExchange& halo, Stopwatch& watch) {
  if (nonlocal()) {
    fill_atoms(step, halo);
    NonlocalStep<Real> global = nonlocal_step(step);
    normalise(layer, global);
    watch.lap("nonlocal normalisers");
  }
  run(kernels_.attention_forward, step, owned_, kAtomsPerTask);
  watch.lap("attention");
  if (!nonlocal()) return;
  nonlocal_forward(step);
  watch.lap("nonlocal attention");
}

template <class Real>
void Network<Real>::forward(const Domain& domain, const int* species, const Composition& composition, const Systems& systems,
                            HaloExchange& halo, Readouts& out, Stopwatch& watch, std::vector<LayerFeatures>* features) {
  allocate(domain.n_owned, domain.n_feature_slots());
  const Matrix of_species = species_features(parameters_->model(), composition);
  embed(species, of_species);
  if (nonlocal()) {
    atoms_.start(domain, species, systems, halo);
    species_products_.make(of_species, atoms_.species());
    evaluated_.assign(index_of(atoms_.num_places()), 0);
    measured_.assign(index_of(atoms_.num_places()), 0);
    searches_ = 0;
  }
  watch.lap("embedding");
  LayerOrder::forward(*this, halo, watch, features);
  out.energy.resize(index_of(owned_));
  out.charge.clear();
  out.hirshfeld.clear();
  pool_.parallel_for(owned_, kAtomsPerTask, [&](int begin, int end, int thread) {
    kernels_.readout_forward(*parameters_, x_.back().data(), begin, end, out.energy.data(), scratch_[index_of(thread)].data());
  });
  watch.lap("readouts");
}

template <class Real>
void Network<Real>::nonlocal_adjoint(LayerStep<Real>& s, HaloExchange& halo) {
  fill_atoms(s, halo);
  atoms_.fill_adjoint(gradient_chi_attended_.data(), s.radius, halo);
  run_rounds(kernels_.nonlocal_adjoint, nonlocal_step(s), adjoint_sums(parameters_->layout, is_first(s)), add_adjoint_sums<Real>);
  atoms_.fill_softmax(gradient_softmax_.data(), halo);
  run(kernels_.normalise_adjoint, nonlocal_step(s), atoms_.num_centres(), kCentresPerTask);
}

template <class Real>
void Network<Real>::adjoint(const Readouts& gradients, HaloExchange& halo, double* forces, double* virial, Stopwatch& watch) {
  pool_.parallel_for(owned_, kAtomsPerTask, [&](int begin, int end, int thread) {
    kernels_.readout_adjoint(*parameters_, x_.back().data(), begin, end, gradients.energy.data(), gradient_x_.data(),
                             scratch_[index_of(thread)].data());
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
void Network<Real>::node_adjoint(const LayerStep<Real>& step) {
  project(step);
  run(kernels_.node_adjoint, step, owned_, kAtomsPerTask);
}

template <class Real>
std::array<Rows<Real>, 2> Network<Real>::adjoint_rows(const LayerStep<Real>& step) const {
  const Layout& layout = parameters_->layout;
  return {{{step.gradient_attended, layout.features_padded, layout.features_padded},
           {step.gradient_chi_attended, layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
void Network<Real>::attend_boundary_adjoint(int layer, LayerStep<Real>& step, HaloExchange& halo, Stopwatch& watch) {
  if (nonlocal()) {
    const Rows<double> sent[] = {{radius_[index_of(layer)].data(), 1, 1}};
    halo.start(Reach::near, sent);
    halo.finish();
    watch.lap("exchange");
  }
  run(kernels_.attention_adjoint, step, owned_, kAtomsPerTask);
  watch.lap("attention adjoint");
  if (!nonlocal()) return;
  nonlocal_adjoint(step, halo);
  watch.lap("nonlocal adjoint");
}

template <class Real>
std::array<Rows<Real>, 1> Network<Real>::initial_adjoint_rows() {
  const Layout& layout = parameters_->layout;
  return {{{gradient_chi_.data(), layout.num_coordinates, layout.chi_stride}}};
}

template <class Real>
void Network<Real>::initial_adjoint() {
  InitialStep<Real> initial = initial_step();
  initial.forces = forces_;
  initial.virial = virial_;
  run(kernels_.initial_adjoint, initial, owned_, kAtomsPerTask);
}

template <class Real>
void Network<Real>::record(int layer, LayerFeatures& out) const {
  const std::size_t at = index_of(layer);
  const LayerRows<Real> rows = {x_[at].data(),     chi_[at].data(),    x_attended_[at].data(), chi_attended_[at].data(),
                                x_[at + 1].data(), chi_[at + 1].data()};
  out = without_padding(rows, owned_, parameters_->layout);
}

template <class Real>
NonlocalPairs Network<Real>::nonlocal_pairs() const {
  NonlocalPairs out;
  if (!nonlocal()) return out;
  out.all = atoms_.num_pairs() * searches_;
  out.measured = std::accumulate(measured_.begin(), measured_.end(), std::int64_t{0});
  out.evaluated = std::accumulate(evaluated_.begin(), evaluated_.end(), std::int64_t{0});
  return out;
}

template class Network<float>;
template class Network<double>;

}  // namespace so3md::paper2022
