"""No process of the sandbox outlives the one that started it."""

from __future__ import annotations

import os
import threading
import time

_LOOK_EVERY = 0.5  # seconds


def end_with_parent() -> None:
    """End this process soon after its parent is gone: a killed engine can end nobody, and sends no event."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_EVERY)
        os._exit(1)  # whatever is under way has nobody left to hear of it

    threading.Thread(target=watch, daemon=True).start()
