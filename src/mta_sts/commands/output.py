"""What every command does with its streams: names in any script, readers that go away, progress."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def put_out(text: str, file: str | None = None, *, utf8: bool = False) -> None:
    """Write to standard output, or to a file, whole or not at all; raises OSError for the file.

    `utf8` where the form itself is UTF-8, whatever the terminal speaks.
    """
    if file:
        from mta_sts.files import write_whole  # noqa: PLC0415  a light start for --help

        write_whole(Path(file), text)
        return
    speak_utf8(always=utf8)
    with suppress(BrokenPipeError):
        sys.stdout.write(text)
    drain()


def open_closed() -> None:
    """Let what is written to a stream that the caller closed (`>&-`) go nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  as long as we run


def drain() -> None:
    """Write what standard output holds back; once its reader has gone, as with `| head`, all goes nowhere."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def speak_utf8(*, always: bool = False) -> None:
    """Let no name that a sender chose end in an encoding error; `always` where the form itself is UTF-8."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if always else None, errors="backslashreplace")


class ProgressLine:
    """How far long work has come, on standard error: rewritten on a terminal, now and then a line elsewhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._terminal = sys.stderr.isatty()
        self._pause = 0.5 if self._terminal else 10.0
        self._next = clock() + max(self._pause, 2.0)
        self._shown = False

    def __enter__(self) -> ProgressLine:  # noqa: PYI034  nobody derives from this
        return self

    def show(self, progress: object) -> None:
        """Show it as text, if the last time was a while ago."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + self._pause
        text = str(progress)
        print(
            f"\r{text}\x1b[K" if self._terminal else text,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )
        self._shown = True

    def __exit__(self, *_: object) -> None:
        if self._shown and self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
