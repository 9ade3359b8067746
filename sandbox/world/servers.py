"""Every server of the small internet, in one process, on ephemeral loopback ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

from hypercorn.asyncio import serve
from hypercorn.config import Config

from sandbox.world.asgi import loopback_only, read_body
from sandbox.world.authority import Authority
from sandbox.world.aws import Aws
from sandbox.world.cloudflare import Cloudflare
from sandbox.world.dns import DnsServer, Zones
from sandbox.world.edge import Edge
from sandbox.world.faults import Faults
from sandbox.world.internet import MAIL_HOSTS, NAME_SERVERS
from sandbox.world.mail import Mailboxes, start_mail_hosts
from sandbox.world.proxy import Proxy
from sandbox.world.timeline import Timeline

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from sandbox.world.clock import Clock


class Servers:
    """Every server, and what ties them together."""

    def __init__(self, folder: Path, clock: Clock, real_now: dt.datetime) -> None:
        self._folder = folder
        self._clock = clock
        self._faults = Faults()
        self._addresses = [address for address in ("127.0.0.1", "::1") if _can_bind(address)]
        authority = Authority(folder / "ca", real_now)
        self._authority = authority
        self._edge = Edge(authority, clock, self._faults)
        clouds = folder / "clouds"
        self._cloudflare = Cloudflare(clouds / "cloudflare.json", self._faults, self._records_changed)
        self._zones = Zones(self._cloudflare, self._edge.names, self._addresses)
        self._timeline = Timeline(folder / "timeline.jsonl", clouds / "timeline.json", clock, self._zones, self._edge)
        self._aws = Aws(self._zones, self._edge, self._faults, self._aws_changed)
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
        applications = {"aws": self._aws, "cloudflare": self._cloudflare, "control": self}
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
            "name_servers": {
                server: {
                    address: await DnsServer(self._zones, self._faults, server).start(address)
                    for address in self._addresses
                }
                for server in NAME_SERVERS
            },
            "edge": self._edge_ports,
            "proxy": f"http://127.0.0.1:{await Proxy(self._port_of).start()}",
            "ca_file": str(self._authority.ca_file),
            "mx": self._ports,
        }
        self._look_all()
        file = self._folder / "world.json"
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(endpoints, indent=1), encoding="utf-8")
        temporary.replace(file)
        await self._ended.wait()
        file.unlink(missing_ok=True)
        watcher.cancel()
        with contextlib.suppress(asyncio.TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.gather(*servers, return_exceptions=True), 3)
        os._exit(0)  # ministack leaves worker threads behind, and one of ours waits for standard input

    async def _watch_starter(self) -> None:
        """End with the process that started us, unless it said `detach` first."""
        said = await asyncio.to_thread(sys.stdin.readline)
        if said.strip() != "detach":
            self._ended.set()

    def _port_of(self, host: str, port: int) -> int | None:
        if host in MAIL_HOSTS:
            return self._ports[host]["127.0.0.1"] if port == 25 else None  # noqa: PLR2004
        known = any(kind == "A" for _, kind, _, _ in self._zones.look_up(host, "A"))
        return self._edge_ports["127.0.0.1"] if known and port == 443 else None  # noqa: PLR2004

    def _records_changed(self, records: set[tuple[str, str]]) -> None:
        self._aws.validate_certificates()
        self._timeline.records_changed(records)

    def _aws_changed(self, path: str) -> None:
        """Look again: at what a changed object feeds, or at everything where a setting has changed."""
        if "/" in path:
            self._timeline.object_changed(path)
        else:
            self._look_all()

    def _look_all(self) -> None:
        self._timeline.look_all((record["type"], record["name"]) for record in self._cloudflare.records)

    @loopback_only
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer the sandbox's own questions: clock, faults, time-line, mail received."""
        status = 200
        try:
            document = self._answer(scope["path"], json.loads(await read_body(receive) or b"{}"))
        except (ValueError, KeyError, TypeError) as error:
            status, document = 400, {"error": str(error)}
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
            case "/health":
                return {"pid": os.getpid()}
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
    sock.listen()  # now: who reads world.json may connect before the server is up
    return sock


def _can_bind(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True
