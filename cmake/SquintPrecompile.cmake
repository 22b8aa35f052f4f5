# squint_precompile(TARGET OWNER HEADERS...): TARGET gets HEADERS precompiled. The first target of an
# OWNER compiles them, the others of the same OWNER share its file, so they need the same flags.
function(squint_precompile target owner)
  get_property(first GLOBAL PROPERTY SQUINT_PRECOMPILED_${owner})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN})
    set_property(GLOBAL PROPERTY SQUINT_PRECOMPILED_${owner} ${target})
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    # Without times in it the file is the same for the same sources, which ccache needs.
    target_compile_options(${target} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
  else()
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
endfunction()

# Tests always do: most of their compile time was <gtest/gtest.h> and <nlohmann/json.hpp>.
function(squint_precompile_tests target)
  squint_precompile(${target} tests
    <gtest/gtest.h> <fmt/format.h> <nlohmann/json.hpp> <algorithm> <cmath> <filesystem> <fstream>
    <functional> <map> <memory> <optional> <random> <set> <span> <sstream> <string> <vector>)
endfunction()

# Rooms, and what else links fmt, do only with SQUINT_PRECOMPILE: a build without it proves that each
# file includes what it uses.
function(squint_precompile_room target)
  if(SQUINT_PRECOMPILE)
    squint_precompile(${target} rooms
      <fmt/format.h> <nlohmann/json.hpp> <algorithm> <filesystem> <fstream> <functional> <map> <memory>
      <optional> <span> <string> <vector>)
  endif()
endfunction()
