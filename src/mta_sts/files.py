"""Files that are there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from stat import S_IMODE


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; raises OSError that names this file.

    A file that is there keeps its permissions; a new one gets what the umask leaves. What a symbolic link leads to is
    written, and a device or a pipe (`/dev/stdout`) written to: neither is replaced.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")
        else:
            _replace(Path(os.path.realpath(path)), text)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}")
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
