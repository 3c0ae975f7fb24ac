"""The program's first lines: `rolekit`, and `python -m rolekit`."""

from __future__ import annotations

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Ctrl+C while it is still being imported ends the program without a word."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rolekit import cli

    signal.signal(signal.SIGINT, before)
    cli.main()


if __name__ == "__main__":
    main()
