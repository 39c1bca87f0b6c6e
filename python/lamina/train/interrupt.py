"""Ctrl-C at moments when nothing is half done."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Holds back ``KeyboardInterrupt`` inside :meth:`held`, and only there.

    Used as ``with Interrupts() as interrupts``. In threads other than the main one, and where the
    program has a handler of its own, nothing changes.
    """

    def __init__(self) -> None:
        self._held = False
        self._pending = False
        self._before: Any = None

    def __enter__(self) -> "Interrupts":
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._pending = True
        else:
            signal.default_int_handler(number, frame)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let what is inside end before an interrupt is raised."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
