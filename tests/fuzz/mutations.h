// Mutations that keep what surrounds them valid, so that they get past the first checks of a reader.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace so3md::fuzz {

/// The text after one of libFuzzer's own mutations, which know nothing of its form.
std::string any_change(const std::string& text, std::size_t max_size);

/// JSON in which one value became another, often of a kind that is not expected; what is not JSON stays as it is.
std::string with_another_value(const std::string& json, std::minstd_rand& random);

/// A model file with a change in its header, in the document within that, or in its numbers. Returns the new size, 0 if none was made.
std::size_t change_model_file(std::uint8_t* bytes, std::size_t size, std::size_t max_size, std::minstd_rand& random);

}  // namespace so3md::fuzz
