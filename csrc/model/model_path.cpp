#include "model/model_path.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>
#include <set>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace so3md {

namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffix = ".safetensors";
constexpr const char* kVariable = "SO3MD_MODEL_PATH";

fs::path library_directory() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&find_model), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  return fs::absolute(info.dli_fname, ignored).parent_path();
}

std::vector<fs::path> model_directories() {
  std::vector<fs::path> directories;
  if (const char* given = std::getenv(kVariable)) {
    std::istringstream text(given);
    for (std::string directory; std::getline(text, directory, ':');)
      if (!directory.empty()) directories.emplace_back(directory);
  }
  const fs::path here = library_directory();
  const fs::path of_package = (here / ".." / "models").lexically_normal();
  const fs::path of_tree = (here / ".." / "share" / "so3md" / "models").lexically_normal();
  std::error_code missing;
  directories.push_back(fs::is_directory(of_tree, missing) ? of_tree : of_package);
  return directories;
}

std::string known_names(const std::vector<fs::path>& directories) {
  std::set<std::string> names;
  for (const fs::path& directory : directories) {
    std::error_code missing;
    for (const auto& entry : fs::directory_iterator(directory, missing))
      if (entry.path().extension() == kSuffix) names.insert(entry.path().stem().string());
  }
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

}  // namespace

std::string find_model(const std::string& name_or_path) {
  const std::vector<fs::path> directories = model_directories();
  const bool is_name = name_or_path.find('/') == std::string::npos;
  std::string searched;
  for (const fs::path& directory : directories) {
    std::error_code missing;
    if (is_name && fs::is_regular_file(directory / (name_or_path + kSuffix), missing))
      return (directory / (name_or_path + kSuffix)).string();
    searched += (searched.empty() ? "" : ", ") + directory.string();
  }
  std::error_code missing;
  if (fs::is_regular_file(name_or_path, missing)) return name_or_path;
  throw std::runtime_error("there is no model '" + name_or_path + "': it is not a file, and no " + kSuffix +
                           " of that name is in the model directories (" + searched + "). Known names: " + known_names(directories) +
                           ". Give one of them or the path of a model file, or add a directory to the environment variable " + kVariable);
}

}  // namespace so3md
