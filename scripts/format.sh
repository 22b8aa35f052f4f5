#!/usr/bin/env bash
# format.sh [--check]: clang-format over the tree.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(find include src cli tools tests benchmarks -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | sort)
if [ "${1:-}" = "--check" ]; then
  clang-format --dry-run -Werror "${files[@]}"
else
  clang-format -i "${files[@]}"
fi
