// Fuzzing of the reader of model files: whatever the bytes are, read_model returns a model that holds together, or throws ModelError with a
// message that can be shown to anybody. libFuzzer calls the functions at the end (docs/developer_guide.md, "Fuzzing").
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

#include "checks.h"
#include "model/model.h"
#include "mutations.h"

namespace {

using so3md::fuzz::fail;

// A file in memory, because the reader takes a path.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(memfd_create("fuzz_model_reader", 0)), path_("/proc/self/fd/" + std::to_string(descriptor_)) {
    if (descriptor_ < 0) fail("there is no memfd_create on this system");
  }

  const std::string& path() const { return path_; }

  void write(const std::uint8_t* data, std::size_t size) const {
    const bool written =
        ftruncate(descriptor_, static_cast<off_t>(size)) == 0 && pwrite(descriptor_, data, size, 0) == static_cast<ssize_t>(size);
    if (!written) fail("cannot write to memory");
  }

 private:
  int descriptor_;
  std::string path_;
};

void check_model(const so3md::Model& model) {
  if (model.layers.size() != static_cast<std::size_t>(model.hyper.num_layers)) fail("the number of layers is not the one that was read");
  if (model.elements.empty() || model.species_of(model.elements.back()) != static_cast<int>(model.elements.size()) - 1)
    fail("the last element is not where it should be");
  if (model.element_embedding.data.size() != model.elements.size() * static_cast<std::size_t>(model.hyper.num_features))
    fail("the embedding does not have the size that was read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const MemoryFile file;
  file.write(data, size);
  try {
    check_model(so3md::read_model(file.path()));
  } catch (const so3md::ModelError& error) {
    const std::string message = error.what();
    if (!message.starts_with(file.path() + ": ")) so3md::fuzz::fail("the message does not begin with the path: " + message);
    so3md::fuzz::check_message(message);
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  const std::size_t changed = random() % 6 == 0 ? 0 : so3md::fuzz::change_model_file(data, size, max_size, random);
  return changed > 0 ? changed : LLVMFuzzerMutate(data, size, max_size);
}
