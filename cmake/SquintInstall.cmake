# The library, its public headers, the command, and what find_package(squint) needs.
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/squint)
install(TARGETS squint EXPORT squintTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS squint_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Completions and the manual page are made by the program itself.
set(pages ${CMAKE_CURRENT_BINARY_DIR}/pages)
add_custom_command(OUTPUT ${pages}/squint.1
  COMMAND ${CMAKE_COMMAND} -E make_directory ${pages}
  COMMAND squint_cli completion bash > ${pages}/squint
  COMMAND squint_cli completion zsh > ${pages}/_squint
  COMMAND squint_cli completion fish > ${pages}/squint.fish
  COMMAND squint_cli manual > ${pages}/squint.1
  DEPENDS squint_cli VERBATIM)
add_custom_target(squint_pages ALL DEPENDS ${pages}/squint.1)
install(FILES ${pages}/squint.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${pages}/squint DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${pages}/_squint DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${pages}/squint.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(DIRECTORY data/calibration DESTINATION ${CMAKE_INSTALL_DATADIR}/squint)
install(DIRECTORY include/squint DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT squintTargets NAMESPACE squint:: DESTINATION ${package_dir})
configure_package_config_file(cmake/squintConfig.cmake.in squintConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(squintConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/squintConfig.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/squintConfigVersion.cmake DESTINATION ${package_dir})
