# The library for programs in C and C++ (include/so3md): libso3md.so with its headers and a package for find_package(so3md). It is shared,
# so that programs need neither the C++ of the engine nor its compiler, that nothing but so3md_* is visible, and that the libraries of the
# GPU kernels find it beside them. Nothing in it depends on where it is installed.
include(CMakePackageConfigHelpers)

file(GLOB library_sources CONFIGURE_DEPENDS csrc/library/*.cpp)
file(GLOB library_headers CONFIGURE_DEPENDS include/so3md/*.h include/so3md/*.hpp)
file(STRINGS include/so3md/so3md.h interface_line REGEX "^#define SO3MD_C_INTERFACE [0-9]+$" LIMIT_COUNT 1)
string(REGEX MATCH "[0-9]+$" so3md_c_interface "${interface_line}")

add_library(so3md SHARED ${library_sources})
target_include_directories(so3md PUBLIC
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_compile_definitions(so3md PRIVATE SO3MD_VERSION="${PROJECT_VERSION}")
target_link_libraries(so3md PRIVATE so3md_core so3md_flags)
so3md_compile_together(so3md)
set_target_properties(so3md PROPERTIES SO3MD_OPTIMISATION -O1 SOVERSION ${so3md_c_interface} EXPORT_NAME core)
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  # Symbols of the standard library, too, stay inside: -fvisibility=hidden does not reach its templates.
  target_link_options(so3md PRIVATE "-Wl,--version-script=${PROJECT_SOURCE_DIR}/csrc/library/exports.map")
  set_property(TARGET so3md APPEND PROPERTY LINK_DEPENDS "${PROJECT_SOURCE_DIR}/csrc/library/exports.map")
endif()

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/so3md")
install(TARGETS so3md EXPORT so3md-targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT library NAMELINK_COMPONENT link)  # a Python package holds no links
install(FILES ${library_headers} DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/so3md" COMPONENT library)
install(EXPORT so3md-targets NAMESPACE so3md:: DESTINATION "${package_dir}" COMPONENT library)
# Before 1.0, a new minor version may change what programs see.
write_basic_package_version_file("${CMAKE_BINARY_DIR}/so3md-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES cmake/so3md-config.cmake "${CMAKE_BINARY_DIR}/so3md-config-version.cmake"
  DESTINATION "${package_dir}" COMPONENT library)

# The models that ship with so3md, which so3md_model_load finds by their names.
file(GLOB model_files CONFIGURE_DEPENDS python/so3md/models/*.safetensors python/so3md/models/LICENSE*)
install(FILES ${model_files} DESTINATION "${CMAKE_INSTALL_DATADIR}/so3md/models" COMPONENT models)
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/so3md" COMPONENT models)
