# The files csrc/cpu/kernels*.cpp are compiled once per instruction set, with SO3MD_ISA as the name of the namespace that keeps the
# copies apart; csrc/cpu/dispatch.cpp picks one at run time and learns from SO3MD_HAVE_AVX2 and SO3MD_HAVE_AVX512 what there is.
include(CheckCXXCompilerFlag)

set(so3md_flags_portable "")
set(so3md_flags_avx2 -mavx2 -mfma)
set(so3md_flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512)

# Sets `result` to the sets beside the portable one that this processor has; to all of them where no program can tell.
function(so3md_processor_sets result)
  if(NOT CMAKE_CROSSCOMPILING)
    # Asked anew each time: the folder of the build may be shared with other machines.
    try_run(SO3MD_PROCESSOR_STATUS SO3MD_PROCESSOR_COMPILED "${PROJECT_BINARY_DIR}/processor_sets"
      "${PROJECT_SOURCE_DIR}/cmake/processor_sets.cpp" CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${PROJECT_SOURCE_DIR}/csrc" RUN_OUTPUT_VARIABLE sets)
    set(status ${SO3MD_PROCESSOR_STATUS})
    unset(SO3MD_PROCESSOR_STATUS CACHE)
    unset(SO3MD_PROCESSOR_COMPILED CACHE)
    if(status EQUAL 0)
      set(${result} "${sets}" PARENT_SCOPE)
      return()
    endif()
  endif()
  set(${result} avx2 avx512 PARENT_SCOPE)
endfunction()

set(SO3MD_INSTRUCTION_SETS all CACHE STRING
  "all; native: those of this processor; or a list, of avx2 and avx512. Always beside the portable set, and as far as the compiler knows them")
set(wanted "${SO3MD_INSTRUCTION_SETS}")
if(wanted STREQUAL "all")
  set(wanted avx2 avx512)
elseif(wanted STREQUAL "native")
  so3md_processor_sets(wanted)
endif()
set(so3md_instruction_sets portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  foreach(isa ${wanted})
    if(NOT so3md_flags_${isa})
      message(FATAL_ERROR "SO3MD_INSTRUCTION_SETS: expected all, native, or avx2, avx512 or both, found ${isa}")
    endif()
    string(REPLACE ";" " " flags "${so3md_flags_${isa}}")
    check_cxx_compiler_flag("${flags}" SO3MD_COMPILER_KNOWS_${isa})
    if(SO3MD_COMPILER_KNOWS_${isa})
      list(APPEND so3md_instruction_sets ${isa})
    endif()
  endforeach()
endif()

list(JOIN so3md_instruction_sets ", " sets)
message(STATUS "Instruction sets of the kernels: ${sets}")

# Where this processor has a wider set, and it is built for this processor, portable kernels are for processors that the build may be moved
# to: they need not be the fastest, and take the compiler less than half as long.
set(so3md_optimisation_portable "")
if(SO3MD_INSTRUCTION_SETS STREQUAL "native" AND NOT so3md_instruction_sets STREQUAL "portable")
  set(so3md_optimisation_portable -O1)
endif()

# Fails the build if a copy of the kernels holds a function that the linker could serve to code for a lesser processor.
function(so3md_check_kernel_symbols target isa)
  if(CMAKE_NM)
    add_custom_command(TARGET ${target} POST_BUILD COMMAND_EXPAND_LISTS VERBATIM
      COMMAND "${Python_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/scripts/check_kernel_symbols.py" --nm "${CMAKE_NM}"
              --instruction-set ${isa} "$<TARGET_OBJECTS:so3md_kernels_${isa}>")
  endif()
endfunction()

# Adds the kernels to `target`; `dispatcher`, which compiles csrc/cpu/dispatch.cpp, is told of what there is.
function(so3md_add_kernels target dispatcher)
  file(GLOB kernel_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/csrc/cpu/kernels*.cpp")
  if(NOT kernel_sources)
    return()
  endif()
  foreach(isa ${so3md_instruction_sets})
    set(kernels so3md_kernels_${isa})
    add_library(${kernels} OBJECT ${kernel_sources})
    target_include_directories(${kernels} PRIVATE "${PROJECT_SOURCE_DIR}/csrc")
    target_compile_definitions(${kernels} PRIVATE SO3MD_ISA=${isa})
    target_compile_options(${kernels} PRIVATE ${so3md_flags_${isa}})
    target_link_libraries(${kernels} PRIVATE so3md_flags)
    set_target_properties(${kernels} PROPERTIES SO3MD_OPTIMISATION "${so3md_optimisation_${isa}}")
    target_sources(${target} PRIVATE $<TARGET_OBJECTS:${kernels}>)
    string(TOUPPER ${isa} name)
    target_compile_definitions(${dispatcher} PRIVATE SO3MD_HAVE_${name})
    if(NOT isa STREQUAL "portable")
      so3md_check_kernel_symbols(${target} ${isa})
    endif()
  endforeach()
endfunction()
