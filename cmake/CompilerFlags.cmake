# so3md_flags: the compiler options of every target, warnings and sanitizers included.
add_library(so3md_flags INTERFACE)

# -O1 for targets with the property SO3MD_NO_LOOPS, in which no time is spent: more would only take the compiler longer.
#
# No -ffast-math: NaN must stay NaN, and sums keep the order in which they are written. Fused multiply-add, and elementary functions
# that neither set errno nor trap, are what the vectoriser needs.
target_compile_options(so3md_flags INTERFACE
  $<$<CONFIG:Release,RelWithDebInfo>:$<IF:$<BOOL:$<TARGET_PROPERTY:SO3MD_NO_LOOPS>>,-O1,-O3>>
  -fno-math-errno -fno-trapping-math -ffp-contract=fast
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual -Wformat=2
  $<$<BOOL:${SO3MD_WERROR}>:-Werror>)

if(SO3MD_SANITIZE)
  list(JOIN SO3MD_SANITIZE "," sanitizers)
  set(sanitizer_options -fsanitize=${sanitizers} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  target_compile_options(so3md_flags INTERFACE ${sanitizer_options})
  target_link_options(so3md_flags INTERFACE ${sanitizer_options})
endif()
