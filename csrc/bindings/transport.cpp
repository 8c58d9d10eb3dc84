#include "bindings/transport.h"

#include <pybind11/numpy.h>

#include <string>
#include <utility>

namespace so3md {

namespace py = pybind11;

namespace {

/// A NumPy view of memory that stays where it is during the call.
template <class T>
py::array_t<T> view(T* data, std::size_t count) {
  return py::array_t<T>(static_cast<py::ssize_t>(count), data, py::capsule(data, [](void*) {}));
}

// Pairs (process, memory) for Python; a memoryview rather than an array, since no arithmetic is done on it.
py::list to_python(std::span<const Message> messages) {
  py::list out;
  for (const Message& message : messages)
    out.append(py::make_tuple(message.process, py::memoryview::from_memory(message.data, static_cast<py::ssize_t>(message.bytes))));
  return out;
}

class PythonTransport final : public Transport {
 public:
  explicit PythonTransport(py::object implementation)
      : implementation_(std::move(implementation)),
        process_(implementation_.attr("rank").cast<int>()),
        num_processes_(implementation_.attr("size").cast<int>()) {
    if (process_ < 0 || process_ >= num_processes_)
      throw py::value_error("the transport has rank " + std::to_string(process_) + " of " + std::to_string(num_processes_) +
                            ": expected 0 or more, and less than the size");
  }

  ~PythonTransport() override {
    py::gil_scoped_acquire gil;
    implementation_ = py::object();
  }

  int process() const override { return process_; }
  int num_processes() const override { return num_processes_; }

  void sum(double* values, int count) override {
    py::gil_scoped_acquire gil;
    implementation_.attr("sum")(view(values, static_cast<std::size_t>(count)));
  }

  void transpose(std::span<const int> send, std::span<int> received) override {
    py::gil_scoped_acquire gil;
    implementation_.attr("transpose")(view(const_cast<int*>(send.data()), send.size()), view(received.data(), received.size()));
  }

  void start(std::span<const Message> sends, std::span<const Message> receives) override {
    py::gil_scoped_acquire gil;
    implementation_.attr("start")(to_python(sends), to_python(receives));
  }

  void finish() override {
    py::gil_scoped_acquire gil;
    implementation_.attr("finish")();
  }

 private:
  py::object implementation_;
  int process_, num_processes_;
};

}  // namespace

std::unique_ptr<Transport> make_python_transport(py::object implementation) {
  return std::make_unique<PythonTransport>(std::move(implementation));
}

}  // namespace so3md
