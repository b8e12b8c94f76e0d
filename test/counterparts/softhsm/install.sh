#!/bin/sh
# Installs SoftHSM, and pkcs11-tool from opensc, from the distribution (Debian, Ubuntu). Needs root.
set -eu

apt-get install -y --no-install-recommends softhsm2 opensc >&2
ls /usr/lib/softhsm/libsofthsm2.so
