#!/bin/sh
# Installs moto (AWS IAM, STS and KMS for tests) and boto3 from PyPI, once: docs/upstreams/aws-kms.md says what moto can show.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../python-environment.sh"

python_environment moto "$here/requirements.txt" 3 10
