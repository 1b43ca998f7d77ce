"""``python -m engine.cli``: the ``fettle`` command where only a Python is known, as over WSL."""

import sys

from engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
