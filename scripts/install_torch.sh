#!/bin/sh
# Installs torch for this machine into the environment of the Python given.
set -eu
python=$1
TORCH=2.13.0
pip() { "$python" -m pip --disable-pip-version-check install --quiet "$@"; }

if "$python" -c 'import torch' 2>/dev/null; then
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
