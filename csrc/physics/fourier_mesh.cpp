#include "physics/fourier_mesh.h"

#define EIGEN_MPL2_ONLY
#include <algorithm>
#include <unsupported/Eigen/FFT>

#include "common/index.h"

namespace so3md {

namespace {

using Complex = std::complex<double>;

// So many neighbouring lines are taken together, a cache line and more of each of their points.
constexpr int kLines = 8;

}  // namespace

// Plans, and memory for some lines. Eigen's transforms by the library that it brings along (kissfft) write to their plans.
struct FourierMesh::Worker {
  Eigen::FFT<double> transform;
  std::vector<Complex> in, out;

  Worker() {
    transform.SetFlag(Eigen::FFT<double>::HalfSpectrum);
    transform.SetFlag(Eigen::FFT<double>::Unscaled);
  }

  // `lines` lines of `points` numbers that are `stride` apart, in place; the lines themselves stand next to each other.
  void run(Complex* first, int lines, int points, std::size_t stride, bool inverse) {
    for (int k = 0; k < points; ++k)
      for (int line = 0; line < lines; ++line) in[index_of(line * points + k)] = first[index_of(k) * stride + index_of(line)];
    for (int line = 0; line < lines; ++line) {
      Complex *to = out.data() + index_of(line) * index_of(points), *from = in.data() + index_of(line) * index_of(points);
      if (inverse)
        transform.inv(to, from, points);
      else
        transform.fwd(to, from, points);
    }
    for (int k = 0; k < points; ++k)
      for (int line = 0; line < lines; ++line) first[index_of(k) * stride + index_of(line)] = out[index_of(line * points + k)];
  }
};

FourierMesh::FourierMesh(ThreadPool& pool) : pool_(pool) {
  for (int thread = 0; thread < pool.size(); ++thread) workers_.push_back(std::make_unique<Worker>());
}

FourierMesh::~FourierMesh() = default;

void FourierMesh::resize(const std::array<int, 3>& points) {
  if (points == points_) return;
  points_ = points;
  for (auto& worker : workers_) {
    worker = std::make_unique<Worker>();  // without the plans of other sizes
    worker->in.resize(kLines * index_of(std::max(points[0], points[1])));
    worker->out.resize(worker->in.size());
  }
}

void FourierMesh::forward(const double* mesh, Complex* spectrum) {
  const std::size_t row = index_of(points_[2]), half_row = index_of(half()), rows = index_of(points_[1]);
  pool_.parallel_for(points_[0], 1, [&](int begin, int end, int thread) {
    Worker& worker = *workers_[index_of(thread)];
    for (int i = begin; i < end; ++i) {
      Complex* plane = spectrum + index_of(i) * rows * half_row;
      for (std::size_t j = 0; j < rows; ++j) worker.transform.fwd(plane + j * half_row, mesh + (index_of(i) * rows + j) * row, points_[2]);
      transform_second(worker, plane, false);
    }
  });
  transform_first(spectrum, false);
}

void FourierMesh::backward(Complex* spectrum, double* mesh) {
  const std::size_t row = index_of(points_[2]), half_row = index_of(half()), rows = index_of(points_[1]);
  transform_first(spectrum, true);
  pool_.parallel_for(points_[0], 1, [&](int begin, int end, int thread) {
    Worker& worker = *workers_[index_of(thread)];
    for (int i = begin; i < end; ++i) {
      Complex* plane = spectrum + index_of(i) * rows * half_row;
      transform_second(worker, plane, true);
      for (std::size_t j = 0; j < rows; ++j) worker.transform.inv(mesh + (index_of(i) * rows + j) * row, plane + j * half_row, points_[2]);
    }
  });
}

void FourierMesh::transform_first(Complex* spectrum, bool inverse) {
  const std::size_t half_row = index_of(half()), stride = index_of(points_[1]) * half_row;
  pool_.parallel_for(points_[1], 1, [&](int begin, int end, int thread) {
    for (int j = begin; j < end; ++j)
      for (int first = 0; first < half(); first += kLines)
        workers_[index_of(thread)]->run(spectrum + index_of(j) * half_row + index_of(first), std::min(kLines, half() - first), points_[0],
                                        stride, inverse);
  });
}

void FourierMesh::transform_second(Worker& worker, Complex* plane, bool inverse) const {
  for (int first = 0; first < half(); first += kLines)
    worker.run(plane + first, std::min(kLines, half() - first), points_[1], index_of(half()), inverse);
}

}  // namespace so3md
