#!/bin/sh
# Makes the environment $VENV with torch for this machine, swiftrl, and the tools of the checks.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
TORCH=2.13.0

"$PYTHON" - <<'CHECK' || exit 1
import sys
if not (3, 10) <= sys.version_info[:2] < (3, 14):
    sys.exit(f"swiftrl needs Python 3.10 to 3.13; {sys.executable} is {sys.version.split()[0]}. "
             "Set PYTHON=/path/to/python3.12 and run make again.")
CHECK

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
pip() { "$VENV/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }

if "$VENV/bin/python" -c 'import torch' 2>/dev/null; then
    echo "torch is there already"
elif command -v nvidia-smi >/dev/null 2>&1 || [ "$(uname -s)" = Darwin ]; then
    echo "installing torch $TORCH for this machine"
    pip "torch==$TORCH"
else
    # The plain wheel on Linux brings gigabytes of CUDA libraries that a CPU has no use for.
    echo "installing torch $TORCH, CPU build"
    pip "torch==$TORCH+cpu" 2>/dev/null ||
        pip "torch==$TORCH" --index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
        pip "torch==$TORCH"
fi
echo "installing swiftrl and its tools"
pip -e ".[dev]"
