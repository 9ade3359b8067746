"""Start the world and speak to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from sandbox import SandboxError
from sandbox.world.internet import ACCOUNT, TOKEN

_ROOT = Path(__file__).resolve().parents[2]
# ministack is configured by the environment, and nothing of a person's belongs in it.
_PASSED_ON = ("PATH", "HOME", "TMPDIR", "LANG", "LC_", "PYTHON", "LD_LIBRARY_PATH", "DYLD_")
_START_LIMIT = 60.0
_END_LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the world's servers listen; ports by address, MX hosts by name."""

    pid: int
    aws: str
    cloudflare: str
    control: str
    dns: dict[str, Any]
    name_servers: dict[str, dict[str, int]]
    edge: dict[str, int]
    proxy: str
    ca_file: str
    mx: dict[str, dict[str, int]]


class World:
    """A running world: started here or found running; leaving the context ends one started here and not detached."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "world.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two commands at once start one world
            self.endpoints = self._running() or self._start()

    def __enter__(self) -> Self:
        """Use it as a context."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what was started here and not detached."""
        if self._process is not None:
            self.stop()

    def environment(self) -> dict[str, str]:
        """Return the standard variables that lead the real SDKs and providers here, with throw-away credentials."""
        nowhere = str(self.folder / "no-such-file")
        return {
            "AWS_ENDPOINT_URL": self.endpoints.aws,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "sandbox",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "CLOUDFLARE_BASE_URL": self.endpoints.cloudflare,
            "CLOUDFLARE_API_TOKEN": TOKEN,
        }

    def port_map(self) -> dict[str, dict[str, int]]:
        """Return where the world's servers listen in the form of `--port-map`."""
        places = self.endpoints
        return {
            "*:443": places.edge,
            **{f"{host}:25": ports for host, ports in places.mx.items()},
            **{f"{server}:53": ports for server, ports in places.name_servers.items()},
        }

    def now(self) -> float:
        """Return the sandbox's time, in seconds since the epoch."""
        return float(self._ask("/clock")["now"])

    def advance(self, seconds: float) -> float:
        """Let time pass, in seconds; return the new time."""
        return float(self._ask("/clock", seconds=seconds)["now"])

    def fault(self, place: str, name: str, kind: str, **options: int) -> None:
        """Put a fault in force: see `sandbox.world.faults`."""
        self._ask("/fault", place=place, name=name, kind=kind, **options)

    def clear_faults(self) -> None:
        """End every fault."""
        self._ask("/clear-faults")

    def timeline(self) -> list[dict[str, Any]]:
        """Return the time-line so far."""
        events: list[dict[str, Any]] = self._ask("/timeline")
        return events

    def received(self) -> dict[str, int]:
        """Return how many mails each MX host took."""
        counts: dict[str, int] = self._ask("/mail")
        return counts

    def detach(self) -> None:
        """Let the world go on after this process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(b"detach\n")
            self._close()

    @classmethod
    def stop_running(cls, folder: Path) -> None:
        """End the world of a folder, if one runs."""
        world = cls.__new__(cls)
        world.folder, world._process = folder.resolve(), None  # noqa: SLF001  a world that is not to be started
        if world._running():  # noqa: SLF001
            world.stop()

    def stop(self) -> None:
        """End the world's process and wait for that."""
        pid = self.endpoints.pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _END_LIMIT
            while _alive(pid, self._process) and time.monotonic() < deadline:
                time.sleep(0.02)
            if _alive(pid, self._process):
                os.kill(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._close()

    def _close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _ask(self, path: str, **asked: Any) -> Any:
        request = urllib.request.Request(f"{self.endpoints.control}{path}", json.dumps(asked).encode())  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  our own loopback address
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SandboxError(json.load(error)["error"]) from None

    def _running(self) -> Endpoints | None:
        """Return where a world of this folder runs already."""
        file = self.folder / "world.json"
        try:
            self.endpoints = Endpoints(**json.loads(file.read_text(encoding="utf-8")))
            self.now()
        except (OSError, ValueError, TypeError):
            file.unlink(missing_ok=True)
            return None
        return self.endpoints

    def _start(self) -> Endpoints:
        file = self.folder / "world.json"
        with (self.folder / "world.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.world", "--folder", str(self.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=_ROOT,
                env={name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)},
                # A group of its own: Ctrl-C reaches it through its standard input, in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_LIMIT
        while not file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / "world.log").read_text(encoding="utf-8", errors="replace")[-2000:]
                self._process.kill()
                self._process.wait()
                self._close()
                raise SandboxError(f"the sandbox's world did not start; its log ends:\n{tail}")
            time.sleep(0.05)
        return Endpoints(**json.loads(file.read_text(encoding="utf-8")))


def _alive(pid: int, process: subprocess.Popen[bytes] | None) -> bool:
    if process is not None:
        return process.poll() is None
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # one that was detached here would stay as a zombie
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
