// The C interface (include/so3md/so3md.h): checks what it is given, and turns exceptions into a status and a text.
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "common/default_arithmetic.h"
#include "library/library_engine.h"
#include "library/versioned_struct.h"
#include "model/model.h"
#include "model/model_path.h"
#include "so3md/so3md.h"

struct so3md_model {
  std::shared_ptr<const so3md::Model> model;
};

struct so3md_engine {
  so3md::LibraryEngine engine;
};

namespace {

using namespace so3md;

thread_local std::string last_error;

constexpr const char* kNoMemory = "the memory of this process is used up";

so3md_status fail(so3md_status status, const char* text) noexcept {
  try {
    last_error = text;
  } catch (...) {
    last_error.clear();  // there is no memory for the text either
  }
  return status;
}

/// What a function of the interface does, with nothing thrown; `other`: the status of exceptions that have none of their own.
template <class Function>
so3md_status guarded(Function&& function, so3md_status other = SO3MD_ERROR_RUNTIME) noexcept {
  const DefaultArithmetic arithmetic;
  try {
    function();
    return SO3MD_OK;
  } catch (const VersionError& error) {
    return fail(SO3MD_ERROR_VERSION, error.what());
  } catch (const ModelError& error) {
    return fail(SO3MD_ERROR_MODEL, error.what());
  } catch (const std::invalid_argument& error) {
    return fail(SO3MD_ERROR_INPUT, error.what());
  } catch (const std::bad_alloc&) {
    return fail(SO3MD_ERROR_MEMORY, kNoMemory);
  } catch (const std::exception& error) {
    return fail(other, error.what());
  } catch (...) {
    return fail(other, "an error of unknown kind");
  }
}

void require(const void* pointer, const char* name) {
  if (pointer == nullptr) throw std::invalid_argument(std::string(name) + " is NULL");
}

so3md_options default_options() {
  so3md_options options{};
  options.struct_size = sizeof(options);
  options.precision = SO3MD_PRECISION_MIXED;
  options.lr_cutoff = SO3MD_OF_MODEL;
  options.lr_damping = SO3MD_OF_MODEL;
  options.skin = 0.5;
  return options;
}

so3md_model_info info_of(const Model& model) {
  static_assert(sizeof(int) == sizeof(std::int32_t));
  so3md_model_info info{};
  info.num_elements = static_cast<std::int64_t>(model.elements.size());
  info.elements = model.elements.data();
  info.cutoff = model.hyper.cutoff;
  info.lr_cutoff_periodic = model.long_range.periodic;
  info.lr_cutoff_molecules = model.long_range.molecules;
  info.lr_damping = model.long_range.damping;
  info.has_long_range = model.hyper.has_long_range() ? 1 : 0;
  info.has_charges = model.hyper.charge_head ? 1 : 0;
  info.has_hirshfeld_ratios = model.hyper.hirshfeld_head ? 1 : 0;
  info.has_c6_ratios = model.hyper.c6_head ? 1 : 0;
  info.metadata = model.metadata.c_str();
  return info;
}

}  // namespace

const char* so3md_last_error(void) { return last_error.c_str(); }

const char* so3md_version(void) { return SO3MD_VERSION; }

std::int32_t so3md_c_interface(void) { return SO3MD_C_INTERFACE; }

so3md_status so3md_model_load(const char* name_or_path, so3md_model** model) {
  const auto load = [&] {
    require(model, "model");
    *model = nullptr;
    require(name_or_path, "name_or_path");
    *model = new so3md_model{std::make_shared<const Model>(read_model(find_model(name_or_path)))};
  };
  return guarded(load, SO3MD_ERROR_MODEL);
}

void so3md_model_destroy(so3md_model* model) { delete model; }

so3md_status so3md_model_get_info(const so3md_model* model, so3md_model_info* info, size_t size) {
  return guarded([&] {
    require(model, "model");
    write_struct(info_of(*model->model), info, size, "so3md_model_info");
  });
}

so3md_status so3md_options_init(so3md_options* options, size_t size) {
  return guarded([&] { write_struct(default_options(), options, size, "so3md_options"); });
}

so3md_status so3md_system_init(so3md_system* system, size_t size) {
  return guarded([&] { write_struct(so3md_system{}, system, size, "so3md_system"); });
}

so3md_status so3md_results_init(so3md_results* results, size_t size) {
  return guarded([&] { write_struct(so3md_results{}, results, size, "so3md_results"); });
}

so3md_status so3md_engine_create(const so3md_model* model, const so3md_options* options, so3md_engine** engine) {
  return guarded([&] {
    require(engine, "engine");
    *engine = nullptr;
    require(model, "model");
    const so3md_options wanted = options == nullptr ? default_options() : read_struct(options, default_options(), "so3md_options");
    *engine = new so3md_engine{LibraryEngine(model->model, wanted)};
  });
}

void so3md_engine_destroy(so3md_engine* engine) { delete engine; }

const char* so3md_engine_warnings(const so3md_engine* engine) { return engine == nullptr ? "" : engine->engine.warnings().c_str(); }

so3md_status so3md_evaluate(so3md_engine* engine, const so3md_system* system, std::int32_t what, so3md_results* results) {
  return guarded([&] {
    require(engine, "engine");
    const so3md_system structure = read_struct(system, so3md_system{}, "so3md_system");
    require(results, "so3md_results");
    check_size<so3md_results>(results->struct_size, "so3md_results");
    write_struct(engine->engine.evaluate(structure, what), results, results->struct_size, "so3md_results");
  });
}
