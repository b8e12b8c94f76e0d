#!/bin/sh
# Builds toxiproxy (a TCP proxy with faults, for tests) with Go, once, and prints where.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/requirements.txt
# Its name has the digest of the requirements: a change of them makes another one.
directory=${DEKD_COUNTERPARTS:-${XDG_CACHE_HOME:-$HOME/.cache}/dekd/counterparts}/toxiproxy-$(sha256sum "$requirements" | cut -c 1-12)
if [ ! -e "$directory/installed" ]; then
  command -v go >/dev/null || {
    echo "toxiproxy: no Go found; put one on the PATH" >&2
    exit 1
  }
  rm -rf "$directory"
  mkdir -p "$directory/bin"
  GOBIN=$directory/bin CGO_ENABLED=0 go install "$(grep -v '^#' "$requirements")" >&2
  touch "$directory/installed"
fi
echo "$directory"
