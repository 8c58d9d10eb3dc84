#include "mutations.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>

namespace so3md::fuzz {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kLengthBytes = 8;
constexpr int kDeepest = 100;

// Discarded if it is not JSON, or so deep that to write it again could overflow the stack.
Json parse(const std::string& text) {
  struct TooDeep {};
  const auto not_too_deep = [](int depth, Json::parse_event_t, const Json&) { return depth <= kDeepest ? true : throw TooDeep(); };
  try {
    return Json::parse(text, not_too_deep, false);
  } catch (const TooDeep&) {
    return Json(Json::value_t::discarded);
  }
}

struct Parts {
  std::string header, data;
};

bool take_apart(const std::uint8_t* bytes, std::size_t size, Parts& out) {
  std::uint64_t length = 0;
  if (size <= kLengthBytes) return false;
  std::memcpy(&length, bytes, kLengthBytes);
  if (length > size - kLengthBytes) return false;
  const char* const begin = reinterpret_cast<const char*>(bytes) + kLengthBytes;
  out = {std::string(begin, length), std::string(begin + length, size - kLengthBytes - length)};
  return true;
}

// Size 0 if it does not fit.
std::size_t put_together(const Parts& parts, std::uint8_t* bytes, std::size_t max_size) {
  const std::uint64_t length = parts.header.size();
  const std::size_t size = kLengthBytes + length + parts.data.size();
  if (size > max_size) return 0;
  std::memcpy(bytes, &length, kLengthBytes);
  std::memcpy(bytes + kLengthBytes, parts.header.data(), length);
  std::memcpy(bytes + kLengthBytes + length, parts.data.data(), parts.data.size());
  return size;
}

// The document as a text in the header, or nothing if there is none.
std::string document_of(const Json& header) {
  if (!header.is_object() || !header.contains("__metadata__") || !header["__metadata__"].is_object()) return {};
  const auto document = header["__metadata__"].find("so3md");
  return document != header["__metadata__"].end() && document->is_string() ? document->get<std::string>() : std::string();
}

// Some value in it becomes another, often of a kind that is not expected.
void replace_a_value(Json& json, std::minstd_rand& random) {
  static const Json values = Json::parse(R"([0, 1, 2, -1, 65536, 65537, 18446744073709551615, 1e-320, 1e15, 1e308, 1.5, true, false, null,
      [], {}, [1], [1, 1], [0, 1, 2, 3], "", "silu", "phys", "none", "gaussian", "simple", "bernstein", "F64", {"type": "nlh"}])");
  Json* place = &json;
  while (place->is_structured() && !place->empty() && (place == &json || random() % 8 != 0))
    place = &*std::next(place->begin(), static_cast<std::ptrdiff_t>(random() % place->size()));
  *place = values[random() % values.size()];
}

// `change` is applied to the document, as a text, inside the header.
template <class Change>
std::string with_document(const std::string& header, Change change) {
  Json json = parse(header);
  const std::string document = document_of(json);
  if (document.empty()) return header;
  json["__metadata__"]["so3md"] = change(document);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string any_change(const std::string& text, std::size_t max_size) {
  std::string out = text;
  out.resize(std::max(text.size(), max_size));
  out.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(out.data()), text.size(), out.size()));
  return out;
}

std::string with_another_value(const std::string& text, std::minstd_rand& random) {
  Json json = parse(text);
  if (json.is_discarded()) return text;
  replace_a_value(json, random);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::size_t change_model_file(std::uint8_t* bytes, std::size_t size, std::size_t max_size, std::minstd_rand& random) {
  Parts parts;
  if (!take_apart(bytes, size, parts)) return 0;
  const auto any = [&](const std::string& text) { return any_change(text, max_size); };
  const auto value = [&](const std::string& text) { return with_another_value(text, random); };
  switch (random() % 5) {
    case 0:
      parts.header = any(parts.header);
      break;
    case 1:
      parts.header = value(parts.header);
      break;
    case 2:
      parts.header = with_document(parts.header, any);
      break;
    case 3:
      parts.header = with_document(parts.header, value);
      break;
    default:
      parts.data = any(parts.data);
  }
  return put_together(parts, bytes, max_size);
}

}  // namespace so3md::fuzz
