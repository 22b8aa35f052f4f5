#!/usr/bin/env bash
# build_outside.sh BUILD_DIR COMPILER MODEL FLAGS: installs, then configures, builds and runs a program
# that knows nothing but the install tree.
set -euo pipefail
build=$1 compiler=$2 model=$3 flags=$4
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/install" >/dev/null
cmake -S "$here/outside" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/install" \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$work/build" >/dev/null
"$work/build/outside" "$model"
"$work/install/bin/squint" --version
