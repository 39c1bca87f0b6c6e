"""Ctrl-C while the command line is still being imported.

There is nothing to undo yet and no one to catch a ``KeyboardInterrupt``. The package imports this
first of all; in a program that only uses the library it does nothing.
"""

import contextlib
import os
import signal
import sys
from itertools import pairwise


def is_command_line() -> bool:
    """Whether the program is ``lamina`` or ``python -m lamina``."""
    if sys.argv[:1] == ["-m"]:
        return ("-m", "lamina") in pairwise(sys.orig_argv)
    return os.path.basename(sys.argv[0] if sys.argv else "") in ("lamina", "lamina.exe")


def quit_at_once(*_: object) -> None:
    """Say so and exit."""
    os.write(2, b"lamina: interrupted\n")
    os._exit(130)


def expect_interrupts() -> None:
    """Raise ``KeyboardInterrupt`` from now on."""
    if signal.getsignal(signal.SIGINT) is quit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_command_line() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    with contextlib.suppress(ValueError):  # Not the main thread.
        signal.signal(signal.SIGINT, quit_at_once)
