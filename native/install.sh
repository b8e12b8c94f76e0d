#!/bin/sh
# Builds the addon during `npm ci` and `npm install`: silent when all is well, one line with the way out when a tool is
# missing. make rebuilds only what changed. In a source checkout it links the two commands, so that `npx dekctl` works,
# and compiles what tests need.
set -eu
native=$(CDPATH= cd -P -- "$(dirname -- "$0")" && pwd -P)
root=$(dirname "$native")

fail() {
  echo "dekd: $1" >&2
  exit 1
}

install_hint='install one (Debian, Ubuntu: apt-get install build-essential · Alpine: apk add build-base · Fedora: dnf install gcc make)'
compiler=${CC:-}
for candidate in cc gcc clang; do
  [ -n "$compiler" ] || ! command -v "$candidate" >/dev/null 2>&1 || compiler=$candidate
done
[ -n "$compiler" ] || fail "no C compiler found; $install_hint"
command -v make >/dev/null 2>&1 || fail "no make found; $install_hint"

# Beside our own dependencies, or hoisted beside us when we are a dependency; else wherever Node would find it.
case $root in
*/node_modules/*) beside=${root%/node_modules/*}/node_modules ;;
*) beside=$root/node_modules ;;
esac
headers=''
for candidate in "$root/node_modules" "$beside"; do
  [ -n "$headers" ] || [ ! -f "$candidate/node-api-headers/include/node_api.h" ] ||
    headers=$candidate/node-api-headers/include
done
[ -n "$headers" ] ||
  headers=$(CDPATH= cd -P -- "$root" && node -p 'require("node-api-headers").include_dir' 2>/dev/null) ||
  fail 'the npm package node-api-headers is missing; run npm ci'

if ! output=$(make -s -C "$native" CC="$compiler" HEADERS="$headers" 2>&1); then
  printf '%s\n' "$output" >&2
  fail 'the native addon did not compile (see above)'
fi

case $root in
*/node_modules/*) ;; # installed as a dependency: npm links the commands
*)
  if [ -d "$root/node_modules" ]; then
    mkdir -p "$root/node_modules/.bin"
    ln -sf ../../bin/dekd "$root/node_modules/.bin/dekd"
    ln -sf ../../bin/dekctl "$root/node_modules/.bin/dekctl"
  fi
  # Tests of the upstream pkcs11 need it. Not every machine has what that takes, and npm, which would do it, gives up over it.
  binding=$root/node_modules/pkcs11js
  if [ -d "$binding" ] && [ ! -e "$binding/build/Release/pkcs11.node" ]; then
    (cd "$binding" && node-gyp rebuild) >/dev/null 2>&1 ||
      echo 'dekd: pkcs11js did not compile (C++ compiler, python3, headers of Node): tests of the upstream pkcs11 are not run' >&2
  fi
  ;;
esac
