"""`python -m swiftrl` and `swiftrl` are the same program."""

import os
import sys
from typing import NoReturn

from swiftrl.cli.main import main
from swiftrl.core.lifeline import run_as_rank


def run() -> NoReturn:
    """Run the command and end; as one process of several, if a launcher has started this one."""
    if "LOCAL_RANK" in os.environ:
        run_as_rank(main)
    sys.exit(main())


if __name__ == "__main__":
    run()
