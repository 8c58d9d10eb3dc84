# The libraries of the GPU kernels, which so3md opens at run time when a device is asked for (csrc/engine/device_library.cpp):
#   so3md_cuda            for GPUs, by nvcc; only where SO3MD_CUDA asks for it, since nvcc takes longer than all the rest together
#   so3md_cuda_emulation  the same sources for the processor (csrc/cuda/emulation), for the tests: where SO3MD_CUDA_EMULATION asks for it
set(SO3MD_CUDA OFF CACHE STRING "Build the GPU kernels: ON, OFF, or AUTO (where nvcc is found)")
set_property(CACHE SO3MD_CUDA PROPERTY STRINGS OFF ON AUTO)
option(SO3MD_CUDA_EMULATION "Build the emulation of the GPU kernels on the processor" OFF)
set(SO3MD_CUDA_ARCHITECTURES "80-real;90-real;90-virtual" CACHE STRING "GPUs to compile for, as CMAKE_CUDA_ARCHITECTURES")

if(NOT SO3MD_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "SO3MD_CUDA is ${SO3MD_CUDA}: expected ON, OFF or AUTO")
endif()

# A hash of the headers whose classes cross the border between the libraries: only those of one build are used together.
file(GLOB border_headers CONFIGURE_DEPENDS csrc/evaluation/*.h csrc/common/*.h csrc/model/*.h csrc/geometry/*.h csrc/halo/*.h csrc/network/*.h
  csrc/physics/electric_field.h csrc/physics/ewald_plan.h csrc/physics/external_potential.h csrc/cuda/interface.h)
set(border_hashes "${CMAKE_CXX_COMPILER_ID}")
foreach(header ${border_headers})
  file(SHA256 "${header}" hash)
  string(APPEND border_hashes "${hash}")
endforeach()
string(SHA256 border_hash "${border_hashes}")
string(SUBSTRING "${border_hash}" 0 16 border_hash)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${border_headers})
set(so3md_interface_version "SO3MD_INTERFACE_VERSION=\"${PROJECT_VERSION}-${border_hash}\"")
set_source_files_properties(csrc/engine/interface_version.cpp PROPERTIES COMPILE_DEFINITIONS "${so3md_interface_version}")

file(GLOB cuda_sources CONFIGURE_DEPENDS csrc/cuda/*.cu csrc/cuda/lists/*.cu csrc/cuda/network/*.cu)

# What both libraries have in common.
function(so3md_finish_device_library target)
  target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/csrc")
  target_link_libraries(${target} PRIVATE so3md_core)
  set_target_properties(${target} PROPERTIES PREFIX "" SUFFIX ".so")
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_link_options(${target} PRIVATE "-Wl,--exclude-libs,ALL")
  endif()
  # Where device.cpp looks: beside the Python module, and in a folder beside the shared library. A build of single targets may lack it.
  install(TARGETS ${target} LIBRARY DESTINATION . COMPONENT python EXCLUDE_FROM_ALL OPTIONAL)
  install(TARGETS ${target} LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}/so3md" COMPONENT devices OPTIONAL)
endfunction()

# Makes a target that only says why the library is not there, for those who build it by name.
function(so3md_skip_device_library target message)
  message(STATUS "${message}")
  add_custom_target(${target} COMMAND "${CMAKE_COMMAND}" -E echo "${message}" VERBATIM)
endfunction()

function(so3md_add_cuda)
  add_library(so3md_cuda MODULE ${cuda_sources})
  set_source_files_properties(csrc/cuda/interface.cu PROPERTIES COMPILE_DEFINITIONS "${so3md_interface_version}")
  set_target_properties(so3md_cuda PROPERTIES CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_ARCHITECTURES "${SO3MD_CUDA_ARCHITECTURES}"
    CUDA_VISIBILITY_PRESET hidden CUDA_RUNTIME_LIBRARY Static)
  target_compile_options(so3md_cuda PRIVATE --expt-relaxed-constexpr "SHELL:-Xcompiler -Wall,-Wextra,-fno-math-errno")
  so3md_finish_device_library(so3md_cuda)
endfunction()

# The compiler takes a file for C++ by its name, so that each source has a C++ file that includes it.
function(so3md_add_cuda_emulation)
  file(GLOB sources CONFIGURE_DEPENDS csrc/cuda/emulation/*.cpp)
  foreach(source ${cuda_sources})
    file(RELATIVE_PATH name "${PROJECT_SOURCE_DIR}/csrc" "${source}")
    string(REPLACE "/" "_" file "${name}")
    set(file "${CMAKE_BINARY_DIR}/cuda_emulation/${file}.cpp")
    file(CONFIGURE OUTPUT "${file}" CONTENT "#include \"${name}\"\n")
    list(APPEND sources "${file}")
  endforeach()
  set_source_files_properties("${CMAKE_BINARY_DIR}/cuda_emulation/cuda_interface.cu.cpp" PROPERTIES
    COMPILE_DEFINITIONS "${so3md_interface_version}")
  # Kernels unrolled for a GPU would take the optimiser minutes, and gain nothing here.
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS -O1)
  add_library(so3md_cuda_emulation MODULE ${sources})
  target_compile_definitions(so3md_cuda_emulation PRIVATE SO3MD_CUDA_EMULATION)
  target_compile_options(so3md_cuda_emulation PRIVATE -Wno-unknown-pragmas)  # of nvcc
  target_link_libraries(so3md_cuda_emulation PRIVATE so3md_flags)
  so3md_finish_device_library(so3md_cuda_emulation)
endfunction()

if(SO3MD_CUDA STREQUAL "OFF")
  find_program(SO3MD_NVCC NAMES nvcc HINTS /usr/local/cuda/bin)
  mark_as_advanced(SO3MD_NVCC)
  if(SO3MD_NVCC)
    set(advice "; to build them with ${SO3MD_NVCC}: SO3MD_CUDA=ON pip install ., or -DSO3MD_CUDA=ON for CMake")
  endif()
  so3md_skip_device_library(so3md_cuda "GPU kernels: not built (SO3MD_CUDA=OFF)${advice}")
else()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
  endif()
  if(CMAKE_CUDA_COMPILER AND CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.0)
    message(STATUS "GPU kernels: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, for ${SO3MD_CUDA_ARCHITECTURES}")
    so3md_add_cuda()
  else()
    set(message "GPU kernels: not built, as no CUDA compiler (nvcc) of version 12.0 or later was found; install the CUDA toolkit, or \
set CUDACXX to the path of nvcc")
    if(SO3MD_CUDA STREQUAL "ON")
      message(FATAL_ERROR "${message}")
    endif()
    so3md_skip_device_library(so3md_cuda "${message}")
  endif()
endif()

if(NOT SO3MD_CUDA_EMULATION)
  so3md_skip_device_library(so3md_cuda_emulation "Emulation of the GPU kernels: not built, as SO3MD_CUDA_EMULATION=OFF says")
elseif(SO3MD_SANITIZE OR NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  so3md_skip_device_library(so3md_cuda_emulation
    "Emulation of the GPU kernels: not built, since its fibers are for Linux, and sanitizers do not know their stacks")
else()
  so3md_add_cuda_emulation()
endif()
