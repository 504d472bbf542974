"""Entry point of ``kelly-core`` and of ``python -m kelly_core``."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line. Ctrl-C during its imports, too, ends with exit status 130 and without a traceback."""
    try:
        from kelly_core.cli.app import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
