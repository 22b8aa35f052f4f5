# The library, its public headers, the command, and what find_package(squint) needs.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/squint)
install(TARGETS squint EXPORT squintTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS squint_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY data/calibration DESTINATION ${CMAKE_INSTALL_DATADIR}/squint)
install(DIRECTORY include/squint DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT squintTargets NAMESPACE squint:: DESTINATION ${package_dir})
configure_package_config_file(cmake/squintConfig.cmake.in squintConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(squintConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/squintConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/squintConfigVersion.cmake DESTINATION ${package_dir})
