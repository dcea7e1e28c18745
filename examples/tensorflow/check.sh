#!/usr/bin/env bash
# Run the tests of these examples in a fresh virtual environment with digitcli and TensorFlow.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
python3 -m venv "$venv"
"$venv/bin/pip" install -q . -r examples/tensorflow/requirements.txt pytest
"$venv/bin/python" -m pytest -o addopts= examples/tensorflow "$@"  # without the options of the main tests
