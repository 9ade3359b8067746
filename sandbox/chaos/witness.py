"""An independent sender lives through recorded time-lines: `postfix-mta-sts-resolver` and its cache, as they are.

Only what it reads is replaced: the clock, the DNS client and the HTTPS client answer from the time-line. (Its DNS,
HTTPS and TLS meet the sandbox's servers in `sandbox.witness`.) Nothing of `mta_sts` is used here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from itertools import pairwise, product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

_GRACE = 60
"""Its `cache_grace`, in seconds: it looks at the id at most so often."""
_SOON = 1.0
_NONE: tuple[float, Any, float] = (float("-inf"), None, 0.0)


@dataclass(slots=True)
class Testimony:
    """What it met: deliveries, those for which it allowed no MX host, and lives that ended on a wrong body."""

    deliveries: int = 0
    refused: int = 0
    locked_in: int = 0
    example: str = ""

    def add(self, other: Testimony) -> None:
        """Count what another met as well."""
        self.deliveries += other.deliveries
        self.refused += other.refused
        self.locked_in += other.locked_in
        self.example = self.example or other.example


def testify(events: Sequence[str], *, complete: bool) -> Testimony:
    """Let it live through one time-line, from each moment on, with caches that are fresh or as old as they may be.

    An event is `[t, kind, value, ttl]` as JSON; the change begins at 0, and what was before is not counted.
    `complete` is false where the change was interrupted and nothing followed: an id may then stand for the old body.
    """
    logging.getLogger("RES").disabled = True  # a policy that it can't fetch is part of many a time-line
    line: dict[str, list[tuple[float, Any, float]]] = {kind: [_NONE] for kind in ("mx", "txt", "policy")}
    for t, kind, value, ttl in sorted(map(json.loads, events), key=lambda event: float(event[0])):
        line.get(kind, []).append((t, value, ttl))
    moments = _moments(line)
    tally = Testimony()
    for start, (old_mx, old_txt, old_file) in product(moments, product((False, True), repeat=3)):
        old = {"mx": old_mx, "txt": old_txt, "policy": old_file}
        life = _Life(line, old)
        tally.add(asyncio.run(life.live([moment for moment in moments if moment >= start], complete=complete)))
    return tally


def _moments(line: dict[str, list[tuple[float, Any, float]]]) -> list[float]:
    """Return when something changes, or caches forget what was before, and moments around that."""
    turns = {0.0}
    for values in line.values():
        for (_, _, ttl), (t, _, _) in pairwise(values):
            turns |= {t, t + ttl}
    around = {turn + by for turn in turns for by in (-_SOON, _SOON)}
    days = {max(turns) + day * 86_400 for day in (1, 9, 29)}
    return sorted(around | days)


class _Life:
    """One resolver with an empty cache."""

    def __init__(self, line: dict[str, list[tuple[float, Any, float]]], old: dict[str, bool]) -> None:
        self._line = line
        self._old = old
        self.now = 0.0

    def sees(self, kind: str) -> Any:
        """Return what it gets of a kind now: what stands there, or the oldest that a cache may still give."""
        values = self._line[kind]
        begun = [place for place, (t, _, _) in enumerate(values) if t <= self.now]
        if self._old[kind]:
            for place in begun[:-1]:
                _, value, ttl = values[place]
                if value is not None and values[place + 1][0] + ttl > self.now:
                    return value
        return values[begun[-1]][1]

    async def live(self, moments: Sequence[float], *, complete: bool) -> Testimony:
        """Deliver at each moment; return what came of it."""
        from postfix_mta_sts_resolver import defaults, resolver, responder  # noqa: PLC0415  heavy, and no sandbox part
        from postfix_mta_sts_resolver.internal_cache import InternalLRUCache  # noqa: PLC0415

        zone = {"strict_testing": False, "timeout": 60, "require_sni": True, "tlsrpt": False}
        settings = {"host": "", "port": 0, "reuse_port": False, "shutdown_timeout": 1, "cache_grace": _GRACE}
        resolver.aiohttp.ClientSession = lambda **_: _Https(self)
        resolver.aiodns.DNSResolver = lambda **_: _Dns(self)
        responder.time = SimpleNamespace(time=lambda: self.now)
        assert defaults.CACHE_GRACE == _GRACE  # noqa: S101  we testify to what people run
        cache = InternalLRUCache()
        witness = responder.STSSocketmapResponder(
            settings | {"default_zone": zone, "zones": {}}, asyncio.get_running_loop(), cache
        )
        tally = Testimony()
        for self.now in moments:
            said = (await witness.process_request(b"postfix example.com")).decode().partition(":")[2]
            hosts = self.sees("mx") or []
            if self.now < 0 or not hosts:
                continue
            tally.deliveries += 1
            if "secure match=" in said and not any(_matches(said, host) for host in hosts):
                tally.refused += 1
                tally.example = tally.example or f"{self.now:.0f} s, {self._old}: {said} for {hosts}"
        held = await cache.get("example.com")
        text, served = self._line["txt"][-1][1], self._line["policy"][-1][1]
        if complete and held and text and served and f"id={held.pol_id};" in text:
            wrong = sorted(held.pol_body["mx"]) != sorted(
                row.partition(":")[2].strip() for row in served.splitlines() if row.startswith("mx:")
            )
            tally.locked_in += wrong
        return tally


def _matches(said: str, host: str) -> bool:
    """Whether Postfix would use a host: `.example.com` stands for every name below (postconf(5), match)."""
    patterns = said.partition("match=")[2].split()[0].rstrip(",").split(":")
    return any(host.endswith(pattern) if pattern.startswith(".") else host == pattern for pattern in patterns)


class _Dns:
    def __init__(self, life: _Life) -> None:
        self._life = life

    async def query(self, *_: object) -> list[Any]:
        import aiodns.error  # noqa: PLC0415

        text = self._life.sees("txt")
        if text is None:
            raise aiodns.error.DNSError(aiodns.error.ARES_ENOTFOUND, "no such name")
        return [SimpleNamespace(text=text)]


class _Https:
    """The client, its request and the response, as the resolver uses them."""

    status = 200
    charset = "utf-8"
    headers = {"Content-Type": "text/plain"}  # noqa: RUF012  read only

    def __init__(self, life: _Life) -> None:
        self._life = life
        self.content = self
        self._left = b""

    def get(self, *_: object, **__: object) -> Self:
        body = self._life.sees("policy")
        self.status = 404 if body is None else 200
        self._left = (body or "").encode()
        return self

    async def read(self, _: int) -> bytes:
        left, self._left = self._left, b""
        return left

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""
