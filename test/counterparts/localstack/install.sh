#!/bin/sh
# Installs LocalStack (AWS KMS for tests) from PyPI, once: docs/upstreams/aws-kms.md says what it can show. Needs Python 3.13 or newer (older ones cannot load it).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../python-environment.sh"

python_environment localstack "$here/requirements.txt" 3 13
