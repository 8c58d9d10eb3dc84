# so3md_compile_together(target): the files of a folder become one for the compiler, which then reads the headers of the libraries once and
# not for each file: half the time in all, but more after each change. What a file keeps in an unnamed namespace must then have a name
# that no other file of the folder has. Files of one object keep their own options, and kernels stay single (cmake/Kernels.cmake).
option(SO3MD_TOGETHER "Compile the files of a folder as one: less time in all, more after each change" OFF)

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
      if(source MATCHES "/testing_[^/]+$")
        string(APPEND group _testing)  # so that the bindings are two jobs, each within the memory that setup.py counts with
      endif()
      set_source_files_properties("${source}" PROPERTIES UNITY_GROUP ${group})
    endif()
  endforeach()
endfunction()
