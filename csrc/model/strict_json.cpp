#include "model/strict_json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common/number_text.h"

namespace so3md {

namespace {

constexpr int kDeepest = 32;  // far more than a model file nests; bounds what a hostile file makes the parser hold
constexpr std::size_t kShownLength = 80;

// Keys for features of other programs. To read such a model without them would compute something else.
constexpr std::array kUnsupportedFeatures = {"degree_repeats", "simplified_hirshfeld", "theory_levels", "particle_mesh"};

// Called by the parser at every event; the parser itself would keep one of the values of a repeated key.
class DuplicateGuard {
 public:
  explicit DuplicateGuard(const std::string& name) : name_(name) {}

  bool operator()(int depth, Json::parse_event_t event, const Json& value) {
    if (depth > kDeepest) throw ModelError(name_ + " nests deeper than " + std::to_string(kDeepest) + " levels: not a model file");
    if (event == Json::parse_event_t::object_start) keys_.emplace_back();
    if (event == Json::parse_event_t::object_end) keys_.pop_back();
    if (event == Json::parse_event_t::key && !keys_.back().insert(value.get<std::string>()).second) {
      throw ModelError(name_ + ": the key " + shown(value) + " occurs twice: expected once" + kConvertAgain);
    }
    return true;
  }

 private:
  const std::string& name_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

}  // namespace

Json parse_json(std::string_view text, const std::string& name) {
  const std::string invalid = name + " is not valid JSON";
  const char* const altered = "; the file is altered or was not written by so3md: copy it or convert the model again";
  // The parser takes a zero byte for the end of the text and skips a byte order mark, other readers do neither.
  if (text.find('\0') != std::string_view::npos || text.starts_with("\xEF\xBB\xBF")) {
    throw ModelError(invalid + " (a zero byte or a byte order mark)" + altered);
  }
  try {
    return Json::parse(text, DuplicateGuard(name));
  } catch (const Json::parse_error& error) {  // its own message may hold bytes of the file
    throw ModelError(invalid + " (at byte " + std::to_string(error.byte) + ")" + altered);
  } catch (const Json::exception&) {
    throw ModelError(invalid + " (a number that is too large)" + altered);
  }
}

std::string shown(const Json& value) {
  if (value.is_object()) {
    Json keys = Json::array();
    for (const auto& [key, item] : value.items()) keys.push_back(key);
    return "an object with the keys " + shown(keys);
  }
  const auto is_nested = [](const Json& item) { return item.is_structured(); };
  if (value.is_array() && std::any_of(value.begin(), value.end(), is_nested)) return "a list of lists or objects";
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= kShownLength ? text : text.substr(0, kShownLength) + "...";
}

ObjectReader::ObjectReader(const Json& object, std::string name) : object_(&object), name_(std::move(name)) {
  if (!object.is_object()) {
    throw ModelError((name_.empty() ? "the model document" : name_) + ": expected an object, found " + shown(object) + kConvertAgain);
  }
}

void ObjectReader::refuse_unsupported_features() const {
  for (const char* feature : kUnsupportedFeatures) {
    if (object_->contains(feature)) {
      throw ModelError(path(feature) + ": the model needs a feature that this version of so3md does not support yet: update so3md");
    }
  }
}

const Json& ObjectReader::value(const char* key) {
  read_.insert(key);
  const auto item = object_->find(key);
  if (item == object_->end()) throw ModelError(path(key) + ": the key is missing" + kConvertAgain);
  return *item;
}

bool ObjectReader::has(const char* key) {
  read_.insert(key);
  return object_->contains(key);
}

void ObjectReader::refuse(const char* key, const std::string& expected) const {
  throw ModelError(path(key) + ": expected " + expected + ", found " + shown(object_->at(key)) + kConvertAgain);
}

bool ObjectReader::flag(const char* key) {
  const Json& found = value(key);
  if (!found.is_boolean()) refuse(key, "true or false");
  return found.get<bool>();
}

int ObjectReader::integer(const char* key, int low, int high) {
  const Json& found = value(key);
  // A text without sign, point and exponent is parsed as unsigned; no integer of the format is negative.
  const bool fits = found.is_number_unsigned() && found.get<std::uint64_t>() >= static_cast<std::uint64_t>(low) &&
                    found.get<std::uint64_t>() <= static_cast<std::uint64_t>(high);
  if (!fits) refuse(key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  return found.get<int>();
}

double ObjectReader::number(const char* key, const std::string& expected) {
  const Json& found = value(key);
  if (!found.is_number() || !std::isfinite(found.get<double>())) refuse(key, expected);
  return found.get<double>();
}

double ObjectReader::positive(const char* key, double largest) {
  const std::string expected = "a positive number, from " + number_text(kSmallestNumber) + " to " + number_text(largest);
  const double value = number(key, expected);
  if (value < kSmallestNumber || value > largest) refuse(key, expected);
  return value;
}

double ObjectReader::not_negative(const char* key) {
  const std::string expected = "a number that is not negative, up to " + number_text(kLargestNumber);
  const double value = number(key, expected);
  if (value < 0.0 || value > kLargestNumber) refuse(key, expected);
  return value;
}

std::string ObjectReader::text(const char* key) {
  const Json& found = value(key);
  if (!found.is_string()) refuse(key, "a text");
  return found.get<std::string>();
}

const Json& ObjectReader::list(const char* key) {
  const Json& found = value(key);
  if (!found.is_array()) refuse(key, "a list");
  return found;
}

const Json& ObjectReader::any_object(const char* key) {
  const Json& found = value(key);
  if (!found.is_object()) refuse(key, "an object");
  return found;
}

void ObjectReader::finish() const {
  for (const auto& [key, value] : object_->items()) {
    if (read_.contains(key)) continue;
    std::string known;
    for (const std::string& name : read_) known += (known.empty() ? "" : ", ") + name;
    const std::string where = name_.empty() ? "the model document" : name_;
    throw ModelError(where + ": unknown key " + shown(key) + "; known here: " + known +
                     ". The file may be from a newer so3md (update so3md) or altered");
  }
}

}  // namespace so3md
