#!/bin/sh
# Installs SoftHSM from the distribution (Debian, Ubuntu; needs root), unless it is there, and PyKCS11 for tools/unwrap_pkcs11.py from PyPI, once.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../python-environment.sh"

if [ ! -e /usr/lib/softhsm/libsofthsm2.so ] || ! command -v softhsm2-util >/dev/null 2>&1; then
  apt-get install -y --no-install-recommends softhsm2 >&2
fi
python_environment softhsm "$here/requirements.txt" 3 9
