// Fuzzing of the reader of the document in a model file: whatever the text is, read_document returns what can be a model, or throws
// ModelError. Some ten times as fast as whole files.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

#include "checks.h"
#include "model/model.h"
#include "model/read_hyperparameters.h"
#include "mutations.h"

namespace {

void check_document(const so3md::ModelDocument& document) {
  using so3md::fuzz::fail;
  const so3md::Hyperparameters& hyper = document.hyper;
  if (document.elements.empty()) fail("a model without elements");
  if (hyper.num_features % hyper.num_heads != 0 || hyper.num_features % hyper.num_degrees() != 0) fail("features that cannot be split");
  if (!(hyper.cutoff > 0.0) || !(document.long_range.periodic > 0.0) || !(document.long_range.molecules > 0.0))
    fail("a cutoff that is not positive");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    check_document(so3md::read_document(std::string(reinterpret_cast<const char*>(data), size)));
  } catch (const so3md::ModelError& error) {
    so3md::fuzz::check_message(error.what());
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size, unsigned seed) {
  std::minstd_rand random(seed);
  if (random() % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string changed = so3md::fuzz::with_another_value(std::string(reinterpret_cast<const char*>(data), size), random);
  if (changed.empty() || changed.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, changed.data(), changed.size());
  return changed.size();
}
