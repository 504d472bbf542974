"""Entry point of ``kelly-core`` and of ``python -m kelly_core``."""

from __future__ import annotations

import sys

from kelly_core.cli.signals import INTERRUPTED, Interrupts


def run() -> None:
    """Run the command line. Ctrl-C, during its imports too, ends with exit status 130 and without a traceback."""
    interrupts = Interrupts()
    try:
        interrupts.install()
        from kelly_core.cli.app import main

        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception:
        if interrupts.arrived:
            sys.exit(INTERRUPTED)
        raise
    finally:
        interrupts.exit_at_once()
        # After python -m, CPython ends by SIGINT, whatever the exit status, if the last exec() of a string was
        # interrupted; dataclasses and named tuples are made by exec(). Another exec() clears its mark (see
        # run_eval_code_obj in CPython's Python/pythonrun.c).
        exec("")


if __name__ == "__main__":
    run()
