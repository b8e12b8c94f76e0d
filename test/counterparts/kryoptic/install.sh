#!/bin/sh
# Builds kryoptic, a second PKCS#11 library for tests, from crates.io, once, and prints where. It is a test's tool alone (GPL-3): nothing of dekd links it.
# It takes Rust 1.85 or newer, and the development files of OpenSSL, SQLite and libclang (Debian, Ubuntu; their installation needs root).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
digest=$(cat "$here/Cargo.toml" "$here/Cargo.lock" "$here/module.rs" | sha256sum | cut -c 1-12)
directory=${DEKD_COUNTERPARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/dekd/counterparts}/kryoptic-$digest

if [ ! -e "$directory/libkryoptic.so" ]; then
  missing=
  for package in libssl-dev libsqlite3-dev libclang-dev clang pkg-config; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
  done
  # shellcheck disable=SC2086
  [ -z "$missing" ] || apt-get install -y --no-install-recommends $missing >&2
  build=$(mktemp -d)
  trap 'rm -rf "$build"' EXIT
  cp "$here/Cargo.toml" "$here/Cargo.lock" "$here/module.rs" "$build"
  (cd "$build" && CARGO_TARGET_DIR=$build/target cargo build --quiet --locked) >&2
  mkdir -p "$directory"
  # In one step: a build that was cut off leaves nothing that looks whole.
  cp "$build/target/debug/libkryoptic.so" "$directory/libkryoptic.so.new"
  mv "$directory/libkryoptic.so.new" "$directory/libkryoptic.so"
fi
echo "$directory"
