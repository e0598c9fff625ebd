#!/bin/sh
# Installs torch for this machine into the environment of the Python given.
set -eu
python=$1
TORCH=2.13.0
# A published pair (swiftrl/backends/cann.py); CANN itself has to be there already.
ASCEND_TORCH=2.10.0
ASCEND_TORCH_NPU=2.10.0.post4
pip() { "$python" -m pip --disable-pip-version-check install --quiet "$@"; }

if "$python" -c 'import importlib.util as u; exit(not u.find_spec("torch"))'; then
    echo "torch is there already"
elif command -v nvidia-smi >/dev/null 2>&1 || [ "$(uname -s)" = Darwin ]; then
    echo "installing torch $TORCH for this machine"
    pip "torch==$TORCH"
elif command -v npu-smi >/dev/null 2>&1; then
    echo "installing torch $ASCEND_TORCH, CPU build, and torch_npu $ASCEND_TORCH_NPU"
    pip "torch==$ASCEND_TORCH" --index-url https://download.pytorch.org/whl/cpu
    pip pyyaml setuptools "torch_npu==$ASCEND_TORCH_NPU"
else
    # The plain wheel on Linux brings gigabytes of CUDA libraries that a CPU has no use for.
    echo "installing torch $TORCH, CPU build"
    pip "torch==$TORCH+cpu" 2>/dev/null ||
        pip "torch==$TORCH" --index-url https://download.pytorch.org/whl/cpu 2>/dev/null ||
        pip "torch==$TORCH"
fi
