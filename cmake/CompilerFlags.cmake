# so3md_flags: the compiler options of every target, warnings and sanitizers included.
add_library(so3md_flags INTERFACE)

# Targets say by the property SO3MD_OPTIMISATION if they need less than the most: where no time is spent, more would only take the compiler
# longer. The most is -O3; with GCC, without the passes that take its time and give the kernels none back: these write their vectors and
# tiles themselves.
set(so3md_most_optimised -O3)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  foreach(pass gcse-after-reload ipa-cp-clone loop-interchange loop-unroll-and-jam predictive-commoning split-loops split-paths
               tree-loop-distribution tree-partial-pre unswitch-loops version-loops-for-strides)
    list(APPEND so3md_most_optimised -fno-${pass})
  endforeach()
endif()

# Those who only install see no warnings, so that the compiler need not look for them.
set(so3md_warnings "")
if(SO3MD_WERROR OR NOT SO3MD_TOGETHER)
  set(so3md_warnings -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wformat=2)
endif()

# No -ffast-math: NaN must stay NaN, and sums keep the order in which they are written. Fused multiply-add, and elementary functions
# that neither set errno nor trap, are what the vectoriser needs.
set(optimisation $<TARGET_PROPERTY:SO3MD_OPTIMISATION>)
target_compile_options(so3md_flags INTERFACE
  "$<$<CONFIG:Release,RelWithDebInfo>:$<IF:$<BOOL:${optimisation}>,${optimisation},${so3md_most_optimised}>>"
  -fno-math-errno -fno-trapping-math -ffp-contract=fast
  ${so3md_warnings} $<$<BOOL:${SO3MD_WERROR}>:-Werror>)

if(SO3MD_SANITIZE)
  list(JOIN SO3MD_SANITIZE "," sanitizers)
  set(sanitizer_options -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_compile_options(so3md_flags INTERFACE ${sanitizer_options})
  target_link_options(so3md_flags INTERFACE ${sanitizer_options})
endif()
