# fuzz_model_reader, fuzz_model_document: libFuzzer on the reader of model files (tests/fuzz), with the sources of the reader compiled once
# more, because all of them must be instrumented. Needs Clang. What steers the fuzzer is the code of the reader, not that of the libraries,
# which would take most of the time: tests/fuzz/not_followed.txt. The address sanitizer watches both.
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  message(FATAL_ERROR "SO3MD_FUZZ needs Clang, found ${CMAKE_CXX_COMPILER_ID}: configure with -DCMAKE_CXX_COMPILER=clang++")
endif()
file(GLOB model_sources CONFIGURE_DEPENDS csrc/model/*.cpp)
set(fuzz_sanitizers -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
set(not_followed ${PROJECT_SOURCE_DIR}/tests/fuzz/not_followed.txt)

add_library(so3md_fuzzed OBJECT EXCLUDE_FROM_ALL ${model_sources} tests/fuzz/mutations.cpp)
target_compile_options(so3md_fuzzed PUBLIC ${fuzz_sanitizers} -fsanitize-coverage-ignorelist=${not_followed})
target_link_options(so3md_fuzzed PUBLIC ${fuzz_sanitizers})
target_include_directories(so3md_fuzzed PUBLIC csrc)
target_link_libraries(so3md_fuzzed PUBLIC so3md_flags nlohmann_json::nlohmann_json ${CMAKE_DL_LIBS})

foreach(name fuzz_model_reader fuzz_model_document)
  add_executable(${name} EXCLUDE_FROM_ALL tests/fuzz/${name}.cpp)
  target_link_libraries(${name} PRIVATE so3md_fuzzed)
endforeach()
