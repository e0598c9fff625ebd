"""`python -m swiftrl` is the `swiftrl` command."""

from swiftrl.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
