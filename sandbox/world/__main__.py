"""The world's process: every server of the small internet, on ephemeral loopback ports."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from sandbox.world import aws
from sandbox.world.authority import Authority
from sandbox.world.clock import Clock
from sandbox.world.cloudflare import Cloudflare
from sandbox.world.dns import DnsServer, Zones
from sandbox.world.edge import Edge
from sandbox.world.faults import Faults
from sandbox.world.internet import MAIL_HOSTS
from sandbox.world.mail import Mailboxes, start_mail_hosts
from sandbox.world.proxy import Proxy
from sandbox.world.timeline import Timeline

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def main() -> None:
    """Run until told to end: by a signal, or by the end of standard input before the word `detach`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    folder: Path = parser.parse_args().folder
    logging.basicConfig(level=logging.WARNING)
    real_now = dt.datetime.now(dt.UTC)
    clouds = folder / "clouds"
    clouds.mkdir(parents=True, exist_ok=True)
    aws.configure(clouds)
    clock = Clock(folder / "clock.json", time.time())
    asyncio.run(_World(folder, clock, real_now).run())


class _World:
    """Every server, and what ties them together."""

    def __init__(self, folder: Path, clock: Clock, real_now: dt.datetime) -> None:
        self._folder = folder
        self._clock = clock
        self._faults = Faults()
        self._addresses = [address for address in ("127.0.0.1", "::1") if _can_bind(address)]
        authority = Authority(folder / "ca", real_now)
        self._authority = authority
        self._edge = Edge(authority, clock, self._faults)
        self._cloudflare = Cloudflare(folder / "clouds" / "cloudflare.json", self._faults, self._records_changed)
        self._zones = Zones(self._cloudflare, self._edge.names, self._addresses)
        self._timeline = Timeline(folder / "timeline.jsonl", clock, self._zones, self._edge)
        self._aws = aws.Aws(self._zones, self._faults, self._look)
        self._boxes = Mailboxes()
        self._ports: dict[str, dict[str, int]] = {}
        self._edge_ports: dict[str, int] = {}
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Start everything, say where it is, and wait for the end."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        watcher = loop.create_task(self._watch_starter())
        self._edge_ports = {address: await self._edge.start(address) for address in self._addresses}
        self._ports = await start_mail_hosts(self._addresses, self._authority, self._faults, self._boxes)
        applications = {"aws": self._aws, "cloudflare": self._cloudflare, "control": self._control}
        sockets = {name: _listening() for name in applications}
        servers = [
            loop.create_task(_serve(application, sockets[name], self._ended))
            for name, application in applications.items()
        ]
        urls = {name: f"http://127.0.0.1:{sock.getsockname()[1]}" for name, sock in sockets.items()}
        endpoints = {
            "pid": os.getpid(),
            "aws": urls["aws"],
            "cloudflare": f"{urls['cloudflare']}/client/v4",
            "control": urls["control"],
            "dns": {"address": "127.0.0.1", "port": await DnsServer(self._zones, self._faults).start()},
            "edge": self._edge_ports,
            "proxy": f"http://127.0.0.1:{await Proxy(self._port_of).start()}",
            "ca_file": str(self._authority.ca_file),
            "mx": self._ports,
        }
        self._look()
        file = self._folder / "world.json"
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(endpoints, indent=1), encoding="utf-8")
        temporary.replace(file)
        await self._ended.wait()
        file.unlink(missing_ok=True)
        watcher.cancel()
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.gather(*servers, return_exceptions=True), 3)
        os._exit(0)  # ministack leaves worker threads behind

    async def _watch_starter(self) -> None:
        """End with the process that started us, unless it said `detach` first."""
        said = await asyncio.to_thread(sys.stdin.readline)
        if said.strip() != "detach":
            self._ended.set()

    def _port_of(self, host: str, port: int) -> int | None:
        if host in MAIL_HOSTS:
            return self._ports[host]["127.0.0.1"] if port == 25 else None  # noqa: PLR2004
        names, _ = self._zones.resolve(host, "A")
        return self._edge_ports["127.0.0.1"] if names and port == 443 else None  # noqa: PLR2004

    def _records_changed(self) -> None:
        self._aws.validate_certificates()
        self._look()

    def _look(self) -> None:
        names = {record["name"] for record in self._cloudflare.records}
        receiving = {record["name"] for record in self._cloudflare.records if record["type"] == "MX"}
        publishing = {
            name.removeprefix(prefix)
            for name in names
            for prefix in ("_mta-sts.", "mta-sts.")
            if name.startswith(prefix)
        }
        self._timeline.look(receiving | publishing)

    async def _control(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the sandbox's own questions: clock, faults, time-line, mail received."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        host = dict(scope["headers"]).get(b"host", b"").decode().rpartition(":")[0]
        status, document = 200, None
        try:
            document = self._answer(scope["path"], json.loads(body or b"{}")) if host in _LOOPBACK else None
        except (ValueError, KeyError, TypeError) as error:
            status, document = 400, {"error": str(error)}
        if host not in _LOOPBACK:
            status = 403
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(document).encode()})

    def _answer(self, path: str, asked: dict[str, Any]) -> Any:
        match path:
            case "/clock":
                return {"now": self._clock.advance(asked["seconds"]) if asked else self._clock.now}
            case "/fault":
                self._faults.set(**asked)
            case "/clear-faults":
                self._faults.clear()
            case "/timeline":
                return self._timeline.events()
            case "/mail":
                return self._boxes.received
            case _:
                raise ValueError(f"nothing at {path}")
        return {}


async def _serve(application: Any, sock: socket.socket, ended: asyncio.Event) -> None:
    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.graceful_timeout = 1
    await serve(application, config, shutdown_trigger=ended.wait)


def _listening() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
