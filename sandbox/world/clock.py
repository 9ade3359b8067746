"""The one clock: it stands still, and moves only when somebody waits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import time_machine

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """Virtual seconds since the epoch, kept on disk; every date in this process comes from it."""

    def __init__(self, file: Path, start: float) -> None:
        self._file = file
        # Whole seconds: dates are written with less precision than a float has, and must not be later than now.
        self.now: float = json.loads(file.read_text())["now"] if file.exists() else int(start)
        # Patches what Python code calls, so that the AWS emulator's dates agree; time.monotonic is not touched.
        self._travel = time_machine.travel(self.now, tick=False)
        self._here = self._travel.start()
        self._save()

    def advance(self, seconds: float) -> float:
        """Let time pass; raises ValueError for a step backwards."""
        if seconds < 0:
            raise ValueError(f"the clock can't go back: {seconds} seconds")
        self.now += seconds
        self._here.move_to(self.now)
        self._save()
        return self.now

    def _save(self) -> None:
        self._file.write_text(json.dumps({"now": self.now}))
