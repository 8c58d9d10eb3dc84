# Threads, the header libraries for JSON and for Fourier transforms, and for the module Python and pybind11. The PyPI packages
# nlohmann-json, cmeel-eigen and pybind11 are found by asking the Python that the module is built for, so that a machine needs nothing but
# Python and a compiler.
include(CheckCXXCompilerFlag)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

set(python_components Interpreter)
if(SO3MD_PYTHON)
  list(APPEND python_components Development.Module)
endif()
find_package(Python 3.10 COMPONENTS ${python_components} REQUIRED)

# Sets `result` to what a line of Python prints, or to nothing if it fails.
function(so3md_ask_python result code)
  execute_process(COMMAND "${Python_EXECUTABLE}" -c "${code}" OUTPUT_VARIABLE answer ERROR_QUIET RESULT_VARIABLE status
    OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT status EQUAL 0)
    set(answer "")
  endif()
  set(${result} "${answer}" PARENT_SCOPE)
endfunction()

so3md_ask_python(json_package
  "from importlib.util import find_spec; print(find_spec('nlohmann_json').submodule_search_locations[0])")
if(EXISTS "${json_package}/include/nlohmann/json.hpp")
  add_library(nlohmann_json::nlohmann_json INTERFACE IMPORTED)
  target_include_directories(nlohmann_json::nlohmann_json INTERFACE "${json_package}/include")
else()
  find_package(nlohmann_json 3.11 CONFIG)
  if(NOT nlohmann_json_FOUND)
    message(FATAL_ERROR "The JSON header library was not found; install it with: ${Python_EXECUTABLE} -m pip install nlohmann-json")
  endif()
endif()

# Eigen has Fourier transforms, by kissfft, among what it calls unsupported. One file includes them.
so3md_ask_python(eigen_headers
  "from importlib.metadata import distribution; print(distribution('cmeel-eigen').locate_file('cmeel.prefix/include/eigen3'))")
if(NOT EXISTS "${eigen_headers}/unsupported/Eigen/FFT")
  find_package(Eigen3 CONFIG QUIET)
  if(TARGET Eigen3::Eigen)
    get_target_property(eigen_headers Eigen3::Eigen INTERFACE_INCLUDE_DIRECTORIES)
  endif()
endif()
if(NOT EXISTS "${eigen_headers}/unsupported/Eigen/FFT")
  message(FATAL_ERROR "Eigen was not found; install it with: ${Python_EXECUTABLE} -m pip install cmeel-eigen")
endif()
# Complex products without a look at each for infinities.
check_cxx_compiler_flag(-fcx-limited-range SO3MD_COMPILER_KNOWS_LIMITED_RANGE)
set_source_files_properties(csrc/physics/fourier_mesh.cpp PROPERTIES COMPILE_OPTIONS
  "-isystem;${eigen_headers};$<$<BOOL:${SO3MD_COMPILER_KNOWS_LIMITED_RANGE}>:-fcx-limited-range>")

if(SO3MD_PYTHON)
  set(PYBIND11_FINDPYTHON ON)
  so3md_ask_python(pybind11_cmake_dir "import pybind11; print(pybind11.get_cmake_dir())")
  find_package(pybind11 2.12 CONFIG HINTS "${pybind11_cmake_dir}")
  if(NOT pybind11_FOUND)
    message(FATAL_ERROR "pybind11 was not found; install it with: ${Python_EXECUTABLE} -m pip install pybind11")
  endif()
endif()
