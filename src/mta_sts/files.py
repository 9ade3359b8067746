"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from stat import S_IMODE
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises OSError that names this file.

    A file that is there keeps its permissions; a new one gets what the umask leaves.
    """
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}")
    try:
        _write_beside(beside, path, text)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _write_beside(beside: Path, path: Path, text: str) -> None:
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            with suppress(FileNotFoundError):
                beside.chmod(S_IMODE(path.stat().st_mode))
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
