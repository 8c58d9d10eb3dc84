// Fourier transforms of real numbers on a periodic mesh.
#pragma once

#include <array>
#include <complex>
#include <cstddef>
#include <memory>
#include <vector>

#include "common/thread_pool.h"

namespace so3md {

/// Lines of the mesh are shared out among the threads of the pool; bits do not depend on their number.
class FourierMesh {
 public:
  explicit FourierMesh(ThreadPool& pool);
  ~FourierMesh();
  FourierMesh(const FourierMesh&) = delete;
  FourierMesh& operator=(const FourierMesh&) = delete;

  /// `points` along each direction, at least 2; quick where they have no prime factors but 2, 3 and 5, and the last is a multiple of 4.
  void resize(const std::array<int, 3>& points);

  const std::array<int, 3>& points() const { return points_; }
  std::size_t size() const { return rows() * static_cast<std::size_t>(points_[2]); }

  /// Waves along the last direction: those from 0 to half of its points. The others are conjugates of these.
  int half() const { return points_[2] / 2 + 1; }
  std::size_t spectrum_size() const { return rows() * static_cast<std::size_t>(half()); }

  /// spectrum[m] = sum over points k of mesh[k] exp(-2 pi i sum_j m_j k_j / points_j). mesh: [points][points][points]; spectrum:
  /// [points][points][half].
  void forward(const double* mesh, std::complex<double>* spectrum);

  /// mesh[k] = sum over all waves m of spectrum[m] exp(2 pi i sum_j m_j k_j / points_j). The spectrum is destroyed.
  void backward(std::complex<double>* spectrum, double* mesh);

 private:
  struct Worker;

  std::size_t rows() const { return static_cast<std::size_t>(points_[0]) * static_cast<std::size_t>(points_[1]); }
  void transform_first(std::complex<double>* spectrum, bool inverse);
  void transform_second(Worker& worker, std::complex<double>* plane, bool inverse) const;

  ThreadPool& pool_;
  std::array<int, 3> points_{};
  std::vector<std::unique_ptr<Worker>> workers_;  // of each thread
};

}  // namespace so3md
