# squint_room(NAME SOURCES... [LIBRARIES lib...]): one room of src/ as an object library that becomes
# part of libsquint. What a room may include is not decided here: scripts/check_layers.py does that.
add_library(squint_flags INTERFACE)
target_include_directories(squint_flags INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/src>)
# No contraction: a * b + c must round the same way in every build; kernels that want a fused
# multiply-add say so.
target_compile_options(squint_flags INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers -ffp-contract=off
  # GCC 12 sees overflows inside its own std::string and std::regex (GCC bugs 105329, 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-stringop-overread;-Wno-stringop-overflow;-Wno-array-bounds;-Wno-maybe-uninitialized>
  $<$<BOOL:${SQUINT_WERROR}>:-Werror>)

function(squint_room name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  add_library(squint_${name} OBJECT ${ARG_SOURCES})
  target_link_libraries(squint_${name} PRIVATE squint_flags ${ARG_LIBRARIES})
  if("fmt::fmt" IN_LIST ARG_LIBRARIES)
    squint_precompile_room(squint_${name})
  endif()
  set_property(GLOBAL APPEND PROPERTY SQUINT_ROOMS squint_${name})
  set_property(GLOBAL APPEND PROPERTY SQUINT_LIBRARIES ${ARG_LIBRARIES})
endfunction()

# A target for the test programs of each label, to build no more than is run.
foreach(label unit conformance golden shared slow)
  add_custom_target(${label}_programs)
endforeach()

# squint_test(NAME LABEL label SOURCES...): one test program; every test in it carries the label.
function(squint_test name)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE squint_flags squint_test_support squint GTest::gtest_main)
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests)
  # What is tested is compiled as it is used; the tests themselves need not be fast.
  target_compile_options(${name} PRIVATE $<IF:$<CONFIG:Debug>,-O0,-O1>)
  squint_precompile_tests(${name})
  add_dependencies(${ARG_LABEL}_programs ${name})
  gtest_discover_tests(${name} NO_PRETTY_VALUES TEST_PREFIX ${name}. DISCOVERY_TIMEOUT 60
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 600)
endfunction()
