"""What benchmarks share: other tools in environments of their own, code in a process of its own, memory in MiB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def mebibytes(maxrss: float) -> float:
    """Return MiB of `ru_maxrss`, which is in bytes on macOS and in KiB elsewhere."""
    return maxrss * _RSS_UNIT / 2**20


def run(python: str, code: str, *arguments: object) -> dict[str, Any]:
    """Run code with an interpreter from a file (processes are started from it) and return the JSON that it prints."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "measured.py")
        script.write_text(code, encoding="utf-8")
        command = [python, script, *map(str, arguments)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def python_with(requirement: str, given: str | None) -> str:
    """Return the interpreter that has a package (`name==version`), the given one or one in the user's cache."""
    if given:
        return given
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "pulumi-mta-sts" / requirement.replace("==", "-")
    python = home / "bin" / "python"
    if not (home / ".complete").exists():
        print(f"installing {requirement} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
        (home / ".complete").touch()
    return str(python)


def judged(goal: str, *, met: bool) -> bool:
    """Print whether a goal is met, and return it."""
    print(f"  {'met' if met else 'MISSED'}: {goal}", flush=True)
    return met
