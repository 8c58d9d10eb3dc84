// JSON as the model file uses it, read strictly: no duplicate keys, no unknown keys, no value that only resembles what is expected.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "model/model.h"

namespace so3md {

using Json = nlohmann::json;

/// Advice at the end of the message about a readable file whose content does not fit.
inline constexpr const char* kConvertAgain = "; convert the original model again with `so3md convert SOURCE TARGET`";

/// Beyond these, squares and products with weights leave the range of single precision.
inline constexpr double kSmallestNumber = 1e-15, kLargestNumber = 1e15;

/// Parse a whole text. `name` is what messages call the text. Throws ModelError if the text is not JSON, repeats a key or nests deeply.
Json parse_json(std::string_view text, const std::string& name);

/// A value for messages: as JSON, in ASCII and of bounded length, whatever the file holds.
std::string shown(const Json& value);

/// Reads an object key by key. Every getter throws ModelError, naming the key, if it is missing or its value is of another kind.
class ObjectReader {
 public:
  /// `name` is the object's own key with dots, empty for the document.
  ObjectReader(const Json& object, std::string name);

  const std::string& name() const { return name_; }

  const Json& value(const char* key);  ///< of any kind
  bool has(const char* key);           ///< for keys that may be absent
  bool flag(const char* key);
  int integer(const char* key, int low, int high);
  double positive(const char* key, double largest = kLargestNumber);  ///< from kSmallestNumber on
  double not_negative(const char* key);                               ///< up to kLargestNumber
  std::string text(const char* key);
  const Json& list(const char* key);
  const Json& any_object(const char* key);  ///< an object that may have any keys

  /// The value that `names` (pairs of name and value) gives to the text under `key`.
  template <class Value, std::size_t size>
  Value choice(const char* key, const std::pair<const char*, Value> (&names)[size]);

  /// Calls read(ObjectReader&) with the object under `key`, then refuses the keys that it did not read.
  template <class Read>
  void object(const char* key, Read read);
  /// The same if the value is not null; returns whether it was an object.
  template <class Read>
  bool object_or_null(const char* key, Read read);

  /// Refuse, by name, the keys of model generations that this engine does not compute.
  void refuse_unsupported_features() const;

  /// Refuse the keys that were not read.
  void finish() const;

  /// Throws ModelError: `key` was expected to be something else.
  [[noreturn]] void refuse(const char* key, const std::string& expected) const;

 private:
  double number(const char* key, const std::string& expected);
  std::string path(const std::string& key) const { return name_.empty() ? key : name_ + "." + key; }

  const Json* object_;
  std::string name_;
  std::set<std::string> read_;
};

template <class Value, std::size_t size>
Value ObjectReader::choice(const char* key, const std::pair<const char*, Value> (&names)[size]) {
  const Json& found = value(key);
  std::string known;
  for (const auto& [name, chosen] : names) {
    if (found == name) return chosen;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  refuse(key, size == 1 ? known : "one of " + known);
}

template <class Read>
void ObjectReader::object(const char* key, Read read) {
  ObjectReader reader(value(key), path(key));
  reader.refuse_unsupported_features();
  read(reader);
  reader.finish();
}

template <class Read>
bool ObjectReader::object_or_null(const char* key, Read read) {
  if (value(key).is_null()) return false;
  object(key, read);
  return true;
}

}  // namespace so3md
