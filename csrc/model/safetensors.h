// Reader of safetensors files: eight bytes with the length of a header, the header in JSON, and the numbers, little-endian.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace so3md {

/// A safetensors file whose header was checked in full: every tensor lies inside the file, and together they fill it without gap or
/// overlap. The numbers are read on demand, so that nothing is allocated before its size was compared with that of the file.
class SafetensorsFile {
 public:
  enum class DataType { f32, f64 };

  struct Tensor {
    DataType type = DataType::f32;
    std::vector<std::int64_t> shape;
    std::uint64_t begin = 0;  ///< first byte, from the start of the file
    std::uint64_t size = 0;   ///< number of scalars
  };

  /// Opens the file and checks it. Throws ModelError, whose message leaves the path for the caller to add.
  explicit SafetensorsFile(const std::string& path);

  const std::map<std::string, Tensor>& tensors() const { return tensors_; }

  /// The entries of the header's `__metadata__`.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  /// The numbers of a tensor that exists, in row-major order. Throws ModelError if they cannot be read or one is not finite.
  std::vector<double> read(const std::string& name);

 private:
  std::ifstream stream_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace so3md
