# so3md_compile_together(target): the files of a folder become one for the compiler, which then reads the headers of the libraries once and
# not for each file: half the time in all, but more after each change. What a file keeps in an unnamed namespace must then have a name
# that no other file of these folders has. Files with options of their own are compiled alone, and so are kernels (cmake/Kernels.cmake).
option(SO3MD_TOGETHER "Compile the files of a folder as one: less time in all, more after each change" OFF)

# Folders that are compiled with another, for the headers that both read.
set(so3md_together_with_common cpu evaluation halo model)
set(so3md_together_with_engine heat_flux training)
set(so3md_together_with_network paper2022)
set(so3md_together_with_physics geometry)

function(so3md_compile_together target)
  if(NOT SO3MD_TOGETHER)
    return()
  endif()
  set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    if(source MATCHES "\\.cpp$")
      get_filename_component(folder "${source}" DIRECTORY)
      get_filename_component(group "${folder}" NAME)
      foreach(first common engine network physics)
        if(group IN_LIST so3md_together_with_${first})
          set(group ${first})
        endif()
      endforeach()
      if(target STREQUAL "so3md_core" AND source MATCHES "/model/")
        set(group network)  # radial.cpp
      endif()
      set_source_files_properties("${source}" PROPERTIES UNITY_GROUP ${group})
    endif()
  endforeach()
endfunction()
