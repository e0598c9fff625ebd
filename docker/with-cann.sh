#!/bin/bash
# Runs a command with CANN's environment, as a login shell of the base image would have it.
for script in /usr/local/Ascend/cann/set_env.sh /usr/local/Ascend/ascend-toolkit/set_env.sh; do
    if [ -f "$script" ]; then
        # shellcheck disable=SC1090
        source "$script"
        break
    fi
done
exec "$@"
