// The sweeps of a batch: weights packed once, groups of structures shared by threads, gradients added up in the order of the groups.
#include "training/sweeps.h"

#include <algorithm>
#include <functional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "training/packed_weights.h"

namespace so3md::training {

namespace {

constexpr std::size_t kLine = 64;  // groups of threads must not share cache lines
constexpr int kSumGrain = 1 << 14;

std::size_t padded(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

/// The structures of one group, with the atoms of its pairs numbered from zero.
template <class Real>
struct GroupOfBatch {
  Group<Real> group;
  std::int64_t first_atom = 0, first_pair = 0;
  std::vector<std::int64_t> first, second;
  std::size_t memory_offset = 0;
};

template <class Real>
class SweepsOf final : public Sweeps {
 public:
  SweepsOf(Network& network, std::shared_ptr<ThreadPool> pool, const BatchAddresses& batch, const std::vector<TensorAddress>& tensors,
           std::int64_t gradient_size)
      : network_(network),
        pool_(std::move(pool)),
        batch_(batch),
        gradient_size_(gradient_size),
        weights_(network.shape(), tensors, batch.species != nullptr),
        kernels_(kernels<Real>()) {
    divide();
    std::size_t size = padded(weights_.size() * sizeof(Real));
    for (GroupOfBatch<Real>& part : groups_) {
      part.memory_offset = size;
      size += padded((batch.species == nullptr ? kernels_.memory : kernels_.energy_memory)(weights_.weights(), part.group));
    }
    memory_ = std::make_unique<MemoryPool::Piece>(network.memory(), size);
    weights_.place(reinterpret_cast<Real*>(memory_->data()));
  }

  void forward(const void* x, void* out) override {
    pack();
    for_groups([&](const GroupOfBatch<Real>& part) {
      kernels_.forward(weights_.weights(), part.group, steps(part), atoms(x, part), atoms(out, part));
    });
  }

  void adjoint(const void* by_out, void* by_distance, void* by_phi, void* by_harmonics) override {
    for_groups([&](const GroupOfBatch<Real>& part) {
      kernels_.adjoint(steps(part), atoms(by_out, part),
                       {pairs(by_distance, part, 1), pairs(by_phi, part, 1), harmonics(by_harmonics, part)});
    });
  }

  void tangent(const void* distance, const void* phi, const void* harmonic, void* out) override {
    for_groups([&](const GroupOfBatch<Real>& part) {
      kernels_.tangent(steps(part), {pairs(distance, part, 1), pairs(phi, part, 1), harmonics(harmonic, part)}, atoms(out, part));
    });
  }

  void gradient(const void* by_out, void* by_x, void* by_basis, void* gradients) override {
    const std::int64_t basis = network_.shape().basis;
    sum_gradients(gradients, [&](const GroupOfBatch<Real>& part, Real* own) {
      Real* const by_slope = by_basis == nullptr ? nullptr : static_cast<Real*>(by_basis) + batch_.pairs * basis;
      kernels_.gradient(steps(part), atoms(by_out, part), atoms(by_x, part), by_basis == nullptr ? nullptr : pairs(by_basis, part, basis),
                        by_slope == nullptr ? nullptr : pairs(by_slope, part, basis), own);
    });
  }

  void evaluate(void* energies, void* forces) override {
    pack();
    for_groups([&](const GroupOfBatch<Real>& part) {
      kernels_.evaluate(weights_.weights(), part.group, steps(part), atoms(energies, part, 1), atoms(forces, part, 3));
    });
  }

  void differentiate(const void* by_energies, const void* by_forces, void* gradients) override {
    sum_gradients(gradients, [&](const GroupOfBatch<Real>& part, Real* own) {
      kernels_.differentiate(steps(part), atoms(by_energies, part, 1), atoms(by_forces, part, 3), own);
    });
  }

 private:
  void pack() {
    const std::vector<typename PackedWeights<Real>::Job> jobs = weights_.jobs(kernels_);
    pool_->parallel_for(static_cast<int>(jobs.size()), 1, [&](int begin, int end, int) {
      for (int job = begin; job < end; ++job) jobs[static_cast<std::size_t>(job)]();
    });
  }

  /// Calls body with each group and memory for what it adds to the gradients, which is zero before.
  void sum_gradients(void* gradients, const std::function<void(const GroupOfBatch<Real>&, Real*)>& body) {
    const std::size_t size = padded(static_cast<std::size_t>(gradient_size_) * sizeof(Real));
    const MemoryPool::Piece others(network_.memory(), size * std::max<std::size_t>(groups_.size() - 1, 1));
    const auto of_group = [&](std::size_t k) {
      return k == 0 ? static_cast<Real*>(gradients) : reinterpret_cast<Real*>(others.data() + (k - 1) * size);
    };
    for_groups([&](const GroupOfBatch<Real>& part) {
      Real* const own = of_group(static_cast<std::size_t>(&part - groups_.data()));
      std::fill_n(own, gradient_size_, Real(0));
      body(part, own);
    });
    pool_->parallel_for(static_cast<int>(gradient_size_), kSumGrain, [&](int begin, int end, int) {
      for (std::size_t k = 1; k < groups_.size(); ++k) kernels_.add(end - begin, of_group(k) + begin, of_group(0) + begin);
    });
  }

  void for_groups(const std::function<void(const GroupOfBatch<Real>&)>& body) {
    pool_->parallel_for(static_cast<int>(groups_.size()), 1, [&](int begin, int end, int) {
      for (int k = begin; k < end; ++k) body(groups_[static_cast<std::size_t>(k)]);
    });
  }

  void* steps(const GroupOfBatch<Real>& part) const { return memory_->data() + part.memory_offset; }

  // The part of an array of the batch that belongs to a group; width: numbers of an atom or a pair.
  template <class Array>
  static auto numbers(Array* array, std::int64_t offset) {
    return static_cast<std::conditional_t<std::is_const_v<Array>, const Real, Real>*>(array) + offset;
  }
  template <class Array>
  static auto atoms(Array* array, const GroupOfBatch<Real>& part, std::int64_t width) {
    return numbers(array, part.first_atom * width);
  }
  template <class Array>
  auto atoms(Array* array, const GroupOfBatch<Real>& part) const {
    return atoms(array, part, network_.shape().features);
  }
  template <class Array>
  static auto pairs(Array* array, const GroupOfBatch<Real>& part, std::int64_t width) {
    return numbers(array, part.first_pair * width);
  }
  template <class Array>
  auto harmonics(Array* array, const GroupOfBatch<Real>& part) const {
    return pairs(array, part, network_.shape().coordinates);
  }

  /// Throws std::invalid_argument if pairs do not come in the order of the structures.
  std::vector<std::int64_t> pairs_of_structures() const {
    std::vector<std::int64_t> result;
    std::int64_t pair = 0, atom = 0;
    for (std::int64_t s = 0; s < batch_.structures; ++s) {
      const std::int64_t begin = pair;
      atom += batch_.counts[s];
      while (pair < batch_.pairs && batch_.first[pair] < atom && batch_.first[pair] >= atom - batch_.counts[s]) ++pair;
      result.push_back(pair - begin);
    }
    if (pair != batch_.pairs) throw std::invalid_argument("training: the pairs of a batch are not in the order of its structures");
    return result;
  }

  void divide() {
    const std::vector<std::int64_t> counts(batch_.counts, batch_.counts + batch_.structures), own_pairs = pairs_of_structures();
    const std::vector<std::int64_t> starts = divide_structures(counts, own_pairs);
    std::int64_t atom = 0, pair = 0;
    for (std::size_t k = 0; k + 1 < starts.size(); ++k) {
      GroupOfBatch<Real> part;
      part.first_atom = atom;
      part.first_pair = pair;
      for (auto s = static_cast<std::size_t>(starts[k]); s < static_cast<std::size_t>(starts[k + 1]); ++s) {
        atom += counts[s];
        pair += own_pairs[s];
      }
      part.group.atoms = atom - part.first_atom;
      part.group.pairs = pair - part.first_pair;
      groups_.push_back(std::move(part));
    }
    for (GroupOfBatch<Real>& part : groups_) fill(part);
  }

  void fill(GroupOfBatch<Real>& part) const {
    for (std::int64_t pair = part.first_pair; pair < part.first_pair + part.group.pairs; ++pair) {
      part.first.push_back(batch_.first[pair] - part.first_atom);
      part.second.push_back(batch_.second[pair] - part.first_atom);
    }
    const std::int64_t basis = network_.shape().basis;
    part.group.first = part.first.data();
    part.group.second = part.second.data();
    part.group.basis = pairs(batch_.basis, part, basis);
    part.group.basis_slope = part.group.basis + batch_.pairs * basis;
    part.group.phi = pairs(batch_.phi, part, 1);
    part.group.harmonics = harmonics(batch_.harmonics, part);
    if (batch_.species == nullptr) return;
    part.group.species = batch_.species + part.first_atom;
    part.group.unit = pairs(batch_.unit, part, 3);
    part.group.phi_slope = pairs(batch_.phi_slope, part, 1);
    part.group.harmonics_by = pairs(batch_.harmonics_by, part, 3 * network_.shape().coordinates);
  }

  Network& network_;
  std::shared_ptr<ThreadPool> pool_;
  BatchAddresses batch_;
  std::int64_t gradient_size_;
  PackedWeights<Real> weights_;
  const KernelTable<Real>& kernels_;
  std::vector<GroupOfBatch<Real>> groups_;
  std::unique_ptr<MemoryPool::Piece> memory_;
};

}  // namespace

std::unique_ptr<Sweeps> Network::begin(const BatchAddresses& batch, const std::vector<TensorAddress>& tensors, std::int64_t gradient_size,
                                       int threads) {
  if (pool_ == nullptr || pool_->size() != threads) pool_ = std::make_shared<ThreadPool>(threads);
  if (double_precision_) return std::make_unique<SweepsOf<double>>(*this, pool_, batch, tensors, gradient_size);
  return std::make_unique<SweepsOf<float>>(*this, pool_, batch, tensors, gradient_size);
}

}  // namespace so3md::training
