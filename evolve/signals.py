"""Ctrl-C and SIGTERM: the first one ends a search in order, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

from evolve.runner import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered, signals call `target`; before there is one, they raise `Interrupted`.

    Outside the main thread, where Python allows no handlers, this does nothing.
    """

    def __init__(self) -> None:
        self._target: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
            self._before = {number: signal.signal(number, self._handle) for number in heeded}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def call(self, target: Callable[[], None]) -> None:
        """From now on, the first signal calls `target`; takes the handlers back from whoever replaced them."""
        self._target = target
        for number in self._before:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._restore()
        if self._target is None:
            raise Interrupted
        self._target()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
