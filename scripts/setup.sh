#!/bin/sh
# Makes the environment $VENV with torch for this machine, swiftrl, and the tools of the checks.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

"$PYTHON" - <<'CHECK' || exit 1
import sys
if not (3, 10) <= sys.version_info[:2] < (3, 14):
    sys.exit(f"swiftrl needs Python 3.10 to 3.13; {sys.executable} is {sys.version.split()[0]}. "
             "Set PYTHON=/path/to/python3.12 and run make again.")
CHECK

[ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
sh "$(dirname "$0")/install_torch.sh" "$VENV/bin/python"
echo "installing swiftrl and its tools"
"$VENV/bin/python" -m pip --disable-pip-version-check install --quiet -e ".[dev]"
