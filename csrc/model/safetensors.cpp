#include "model/safetensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "model/strict_json.h"

namespace so3md {

// Numbers go from the file into memory as they are.
static_assert(std::endian::native == std::endian::little, "model files are little-endian: this processor needs byte swapping");
static_assert(std::numeric_limits<float>::is_iec559 && std::numeric_limits<double>::is_iec559);

namespace {

using Tensor = SafetensorsFile::Tensor;
using DataType = SafetensorsFile::DataType;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kLargestHeader = 16 << 20;
constexpr std::size_t kLargestRank = 8;
constexpr const char* kDamaged = "; the file is truncated or altered: copy or download it again";

std::uint64_t scalar_bytes(DataType type) { return type == DataType::f32 ? sizeof(float) : sizeof(double); }

std::ifstream open(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw ModelError("expected a model file, found nothing: no such file; check the path");
  // A pipe would block, a directory reads as an empty file.
  if (!std::filesystem::is_regular_file(status)) {
    const char* const kind = std::filesystem::is_directory(status) ? "a directory" : "something that is not a regular file";
    throw ModelError("expected a model file, found " + std::string(kind) + "; give the path of the file itself");
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw ModelError("the file cannot be opened; check its permissions");
  return stream;
}

std::uint64_t measure(std::ifstream& stream) {
  stream.seekg(0, std::ios::end);
  const std::streamoff size = stream.tellg();
  if (!stream || size < 0) throw ModelError("the size of the file cannot be found; is the disk readable?");
  return static_cast<std::uint64_t>(size);
}

void read_bytes(std::ifstream& stream, std::uint64_t begin, char* target, std::uint64_t count) {
  stream.clear();
  stream.seekg(static_cast<std::streamoff>(begin));
  stream.read(target, static_cast<std::streamsize>(count));
  if (!stream) throw ModelError("cannot read " + std::to_string(count) + " bytes at byte " + std::to_string(begin) + kDamaged);
}

// What a file is that begins unlike a safetensors file.
[[noreturn]] void refuse_foreign(std::string_view start, const std::string& found) {
  std::string advice = "; check the path, and copy or download the file again if it was a model file";
  if (start.starts_with("PK\x03\x04") || start.starts_with("\x80")) {
    advice = "; it looks like a pickled (PyTorch or JAX) model: turn it into a model file with `so3md convert SOURCE TARGET`";
  }
  throw ModelError("expected a safetensors file, found " + found + advice);
}

std::string read_header(std::ifstream& stream, std::uint64_t file_size) {
  if (file_size <= kLengthBytes) refuse_foreign({}, "only " + std::to_string(file_size) + " bytes");
  char start[kLengthBytes];
  read_bytes(stream, 0, start, kLengthBytes);
  const std::string_view beginning(start, kLengthBytes);
  std::uint64_t length = 0;
  std::memcpy(&length, start, kLengthBytes);
  if (length > std::min(kLargestHeader, file_size - kLengthBytes)) {
    refuse_foreign(beginning, "a header of " + std::to_string(length) + " bytes in a file of " + std::to_string(file_size) +
                                  " bytes (a header may have " + std::to_string(kLargestHeader) + ")");
  }
  std::string header(length, '\0');
  read_bytes(stream, kLengthBytes, header.data(), length);
  if (!header.starts_with('{')) refuse_foreign(beginning, "a header that does not begin with {");
  return header;
}

[[noreturn]] void refuse_tensor(const std::string& name, const std::string& problem) {
  throw ModelError("tensor " + shown(name) + ": " + problem + kDamaged);
}

bool is_list_of_unsigned(const Json& value) {
  return value.is_array() && std::all_of(value.begin(), value.end(), [](const Json& item) { return item.is_number_unsigned(); });
}

DataType read_type(const std::string& name, const Json& type) {
  if (type == "F32") return DataType::f32;
  if (type == "F64") return DataType::f64;
  throw ModelError("tensor " + shown(name) + ": expected the dtype F32 or F64, found " + shown(type) + kConvertAgain);
}

// Sets shape and size; refuses what would overflow when multiplied.
void read_shape(const std::string& name, const Json& shape, Tensor& tensor) {
  if (!is_list_of_unsigned(shape) || shape.size() > kLargestRank) {
    refuse_tensor(name,
                  "expected a shape of at most " + std::to_string(kLargestRank) + " integers that are not negative, found " + shown(shape));
  }
  constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max() / sizeof(double);
  tensor.size = 1;
  for (const Json& item : shape) {
    const auto extent = item.get<std::uint64_t>();
    if (extent > largest || (extent > 0 && tensor.size > largest / extent)) {
      refuse_tensor(name, "expected a shape that fits into memory, found " + shown(shape));
    }
    tensor.size *= extent;
    tensor.shape.push_back(static_cast<std::int64_t>(extent));
  }
}

// `data` is the first byte after the header.
Tensor read_tensor(const std::string& name, const Json& entry, std::uint64_t data, std::uint64_t file_size) {
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets")) {
    refuse_tensor(name, "expected an object with exactly the keys dtype, shape and data_offsets, found " + shown(entry));
  }
  Tensor tensor;
  tensor.type = read_type(name, entry["dtype"]);
  read_shape(name, entry["shape"], tensor);
  const Json& offsets = entry["data_offsets"];
  if (!is_list_of_unsigned(offsets) || offsets.size() != 2) {
    refuse_tensor(name, "expected data_offsets of two integers that are not negative, found " + shown(offsets));
  }
  const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
  if (begin > end || end > file_size - data) {
    refuse_tensor(name, "expected data_offsets in order and within the " + std::to_string(file_size - data) + " bytes of data, found " +
                            shown(offsets));
  }
  if (end - begin != tensor.size * scalar_bytes(tensor.type)) {
    refuse_tensor(name, "expected " + std::to_string(tensor.size * scalar_bytes(tensor.type)) + " bytes for the shape " +
                            shown(entry["shape"]) + ", found " + std::to_string(end - begin));
  }
  tensor.begin = data + begin;
  return tensor;
}

// Tensors must follow one another from the end of the header to the end of the file.
void require_no_gaps(const std::map<std::string, Tensor>& tensors, std::uint64_t data, std::uint64_t file_size) {
  std::vector<std::pair<std::uint64_t, const std::string*>> order;
  for (const auto& [name, tensor] : tensors) order.emplace_back(tensor.begin, &name);
  // Empty tensors share their first byte with the next one and must come before it.
  std::sort(order.begin(), order.end(), [&](const auto& a, const auto& b) {
    return std::pair(a.first, tensors.at(*a.second).size) < std::pair(b.first, tensors.at(*b.second).size);
  });
  std::uint64_t next = data;
  for (const auto& [begin, name] : order) {
    if (begin != next) {
      refuse_tensor(*name, "expected its numbers at byte " + std::to_string(next - data) + " of the data, found byte " +
                               std::to_string(begin - data) + (begin < next ? " (they overlap another tensor)" : " (a gap)"));
    }
    const Tensor& tensor = tensors.at(*name);
    next += tensor.size * scalar_bytes(tensor.type);
  }
  if (next != file_size) {
    throw ModelError("expected the file to end at byte " + std::to_string(next) + " with the last tensor, found " +
                     std::to_string(file_size) + " bytes" + kDamaged);
  }
}

template <class Scalar>
std::vector<double> widen(const std::vector<char>& bytes) {
  std::vector<double> out(bytes.size() / sizeof(Scalar));
  for (std::size_t k = 0; k < out.size(); ++k) {
    Scalar value;
    std::memcpy(&value, bytes.data() + k * sizeof(Scalar), sizeof(Scalar));
    out[k] = static_cast<double>(value);
  }
  return out;
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : stream_(open(path)) {
  const std::uint64_t file_size = measure(stream_);
  const std::string text = read_header(stream_, file_size);
  const std::uint64_t data = kLengthBytes + text.size();
  const Json header = parse_json(text, "the header");
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    tensors_.emplace(name, read_tensor(name, entry, data, file_size));
  }
  require_no_gaps(tensors_, data, file_size);

  const auto entries = header.find("__metadata__");
  if (entries == header.end()) return;
  if (!entries->is_object()) throw ModelError("__metadata__: expected an object of texts, found " + shown(*entries) + kDamaged);
  for (const auto& [key, value] : entries->items()) {
    if (!value.is_string()) throw ModelError("__metadata__." + shown(key) + ": expected a text, found " + shown(value) + kDamaged);
    metadata_.emplace(key, value.get<std::string>());
  }
}

std::vector<double> SafetensorsFile::read(const std::string& name) {
  const Tensor& tensor = tensors_.at(name);
  std::vector<char> bytes(tensor.size * scalar_bytes(tensor.type));
  read_bytes(stream_, tensor.begin, bytes.data(), bytes.size());
  std::vector<double> out = tensor.type == DataType::f32 ? widen<float>(bytes) : widen<double>(bytes);
  const auto bad = std::find_if_not(out.begin(), out.end(), [](double value) { return std::isfinite(value); });
  if (bad != out.end()) {
    refuse_tensor(name, "expected finite numbers, found " + std::to_string(*bad) + " at index " + std::to_string(bad - out.begin()));
  }
  return out;
}

}  // namespace so3md
