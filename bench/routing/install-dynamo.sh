#!/bin/sh
# Installs NVIDIA Dynamo 1.6.1 (533 MB) where the benchmark looks for it; nothing of it enters the repository. Needs Python 3.11 or newer.
# Two of its pins cannot be had everywhere and are not needed by frontend, router, mocker and simulator.
set -eu
folder="${XDG_CACHE_HOME:-$HOME/.cache}/stator/bench"
mkdir -p "$folder"
cd "$folder"
python3 -m venv dynamo-venv
dynamo-venv/bin/pip --quiet install uv
printf 'certifi>=2026.1\naisimulate; python_version < "3.0"\n' > dynamo-overrides.txt
dynamo-venv/bin/uv pip install --python dynamo-venv/bin/python --overrides dynamo-overrides.txt ai-dynamo==1.6.1
