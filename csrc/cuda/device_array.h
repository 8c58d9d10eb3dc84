// Arrays on the device, and arrays of the host that it can copy from and to while both go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "cuda/platform.h"
#include "evaluation/device.h"

namespace so3md::cuda {

/// Bytes of all device arrays that are alive in this library, and the most there ever were.
DeviceMemory memory_use();

/// Grows with every array of the device or pinned array that is allocated in this library: where it is the same, arrays are where they
/// were.
std::int64_t count_allocations();

namespace detail {
void* allocate_device(std::size_t bytes);
void free_device(void* memory, std::size_t bytes) noexcept;
void* allocate_pinned(std::size_t bytes);
void free_pinned(void* memory) noexcept;
}  // namespace detail

/// Numbers on the device. Growing loses the contents, and does not shrink again: sizes follow the largest system.
template <class T>
class DeviceArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  DeviceArray() = default;
  explicit DeviceArray(std::size_t count) { resize(count); }
  ~DeviceArray() { detail::free_device(data_, capacity_ * sizeof(T)); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), capacity_(std::exchange(other.capacity_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }

  /// Contents are lost if it grows. Where it grew before, a little room is left, since the sizes of lists vary from build to build.
  void resize(std::size_t count) {
    if (count > capacity_) {
      const std::size_t room = capacity_ == 0 ? count : count + count / 16;
      detail::free_device(data_, capacity_ * sizeof(T));
      data_ = nullptr;
      capacity_ = 0;
      data_ = static_cast<T*>(detail::allocate_device(room * sizeof(T)));
      capacity_ = room;
    }
    size_ = count;
  }

  /// Resizes, and copies from the host, whose numbers must stay in place until the stream has come to it.
  void upload(std::span<const T> from, const Stream& stream) {
    resize(from.size());
    copy_to_device(data_, from.data(), from.size() * sizeof(T), stream);
  }
  void upload(const std::vector<T>& from, const Stream& stream) { upload(std::span<const T>(from), stream); }

  /// All bytes zero.
  void clear(const Stream& stream) { set_bytes(data_, 0, size_ * sizeof(T), stream); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return capacity_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0, capacity_ = 0;
};

/// Numbers of the host in memory that stays in place, for copies that go on in the background.
template <class T>
class PinnedArray {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  PinnedArray() = default;
  ~PinnedArray() { detail::free_pinned(data_); }
  PinnedArray(const PinnedArray&) = delete;
  PinnedArray& operator=(const PinnedArray&) = delete;

  /// Contents are lost if it grows.
  void resize(std::size_t count) {
    if (count > capacity_) {
      detail::free_pinned(data_);
      data_ = nullptr;
      capacity_ = 0;
      data_ = static_cast<T*>(detail::allocate_pinned(count * sizeof(T)));
      capacity_ = count;
    }
    size_ = count;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  T& operator[](std::size_t at) { return data_[at]; }
  const T& operator[](std::size_t at) const { return data_[at]; }
  T* begin() { return data_; }
  T* end() { return data_ + size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0, capacity_ = 0;
};

}  // namespace so3md::cuda
