"""The time-line: every change that is visible from outside, written down by the world itself."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mta_sts import txt_value
from sandbox.world.internet import NEGATIVE_TTL

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sandbox.world.clock import Clock
    from sandbox.world.dns import Zones
    from sandbox.world.edge import Edge

_PREFIXES = ("_mta-sts.", "mta-sts.")


@dataclass(slots=True)
class _Seen:
    """The last that was seen of a domain: `lingers` is until when a cache may give the value for an older reason."""

    value: Any
    ttl: int
    lingers: float = 0.0
    target: str = ""  # where the policy host's name led
    target_ttl: int = NEGATIVE_TTL


class Timeline:
    """Looks at a domain after every change that may touch it, and appends what differs: one JSON object a line.

    `ttl` is the longest time that a cache on the way may go on giving this value after it was replaced.
    """

    def __init__(self, file: Path, memory: Path, clock: Clock, zones: Zones, edge: Edge) -> None:
        """`memory` keeps what was seen last, across restarts."""
        self._file = file
        self._memory = memory
        self._clock = clock
        self._zones = zones
        self._edge = edge
        self._seen: dict[str, _Seen] = {}
        self._changed = False
        self._behind: dict[str, set[str]] = {}  # names and S3 paths -> domains whose last look has read them
        if memory.exists():
            kept = json.loads(memory.read_text(encoding="utf-8"))
            self._seen = {key: _Seen(**seen) for key, seen in kept.items()}

    def events(self) -> list[dict[str, Any]]:
        """Return everything recorded so far."""
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]

    def look_all(self, records: Iterable[tuple[str, str]]) -> None:
        """Look at every domain that these records, as (type, name), speak of, and at those ever seen."""
        self._look({key.rpartition(" ")[0] for key in self._seen} | _domains(records))

    def records_changed(self, records: set[tuple[str, str]]) -> None:
        """Look at each domain that these records speak of, or that was last read through their names."""
        domains = _domains(records)
        for _, name in records:
            closest = name.removeprefix("*.")
            above = closest
            while above:
                domains |= self._behind.get(above, set())
                above = above.partition(".")[2]
            if name != closest:
                domains |= {one for behind, them in self._behind.items() if behind.endswith(closest) for one in them}
        self._look(domains)

    def object_changed(self, path: str) -> None:
        """Look at each domain whose policy was read from an S3 path, `bucket/key`."""
        self._look(self._behind.get(path, set()))

    def _look(self, domains: Iterable[str]) -> None:
        for domain in sorted(domains):
            self._look_at(domain)
        if self._changed:
            temporary = self._memory.with_suffix(".new")
            temporary.write_text(json.dumps({key: asdict(seen) for key, seen in self._seen.items()}), encoding="utf-8")
            temporary.replace(self._memory)
            self._changed = False

    def _look_at(self, domain: str) -> None:
        answer = self._resolve(domain, domain, "MX")
        hosts = sorted(text.split()[1].rstrip(".") for _, kind, _, text in answer if kind == "MX")
        self._record(domain, "mx", hosts, _longest(answer, present=bool(hosts)))
        answer = self._resolve(domain, f"_mta-sts.{domain}", "TXT")
        texts = [txt_value(text) for _, kind, _, text in answer if kind == "TXT"]
        # Several records are one too many (RFC 8461 §3.1), and are shown as such.
        self._record(domain, "txt", " | ".join(texts) or None, _longest(answer, present=bool(texts)))
        self._look_at_policy(domain)

    def _look_at_policy(self, domain: str) -> None:
        host = f"mta-sts.{domain}"
        chain = self._resolve(domain, host, "A") + self._resolve(domain, host, "AAAA")
        body: str | None = None
        keep = 0
        target = " ".join(sorted({text for _, kind, _, text in chain if kind == "CNAME"}))
        if any(kind in ("A", "AAAA") for _, kind, _, _ in chain):
            served = self._edge.served(host)
            self._edge.remember(host, served.answer)
            self._behind.setdefault(served.source, set()).add(domain)
            keep = served.keep
            if served.answer.status == 200:  # noqa: PLR2004
                body = served.answer.body.decode("utf-8", "replace")
            target = target or "addresses"
        seen = self._seen.setdefault(f"{domain} policy", _Seen("", -1))
        if seen.target != target and seen.ttl >= 0:
            # The host has moved: resolvers lead to the old one for what is left of its record.
            seen.lingers = max(seen.lingers, self._clock.now + seen.target_ttl)
        own = [record for record in chain if record[0] == host]
        ttl = _longest(own, present=bool(own))
        if (seen.target, seen.target_ttl) != (target, ttl):
            seen.target, seen.target_ttl, self._changed = target, ttl, True
        self._record(domain, "policy", body, keep)

    def _resolve(self, domain: str, name: str, kind: str) -> list[tuple[str, str, int, str]]:
        answer = self._zones.look_up(name, kind)
        for touched in (name, *(text.rstrip(".").lower() for _, found, _, text in answer if found == "CNAME")):
            self._behind.setdefault(touched, set()).add(domain)
        return answer

    def _record(self, domain: str, kind: str, value: Any, ttl: int) -> None:
        seen = self._seen.setdefault(f"{domain} {kind}", _Seen("", -1))
        if (seen.value, seen.ttl) == (value, ttl):
            return
        self._changed = True
        now = self._clock.now
        if seen.ttl >= 0 and seen.value != value:
            left = max(seen.ttl, math.ceil(seen.lingers - now))
            if left != seen.ttl:
                self._write(domain, kind, seen.value, left)
            seen.lingers = 0.0
        elif seen.ttl > ttl:
            # The same value under a shorter TTL: what was cached before goes on for the longer one.
            seen.lingers = max(seen.lingers, now + seen.ttl)
        seen.value, seen.ttl = value, ttl
        self._write(domain, kind, value, ttl)

    def _write(self, domain: str, kind: str, value: Any, ttl: int) -> None:
        event = {"t": self._clock.now, "domain": domain, "kind": kind, "value": value, "ttl": ttl}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")


def _domains(records: Iterable[tuple[str, str]]) -> set[str]:
    """Return the mail domains that records speak of: as their own MX, or as their MTA-STS names."""
    domains = {name for kind, name in records if kind == "MX"}
    return domains | {
        name.removeprefix(prefix) for _, name in records for prefix in _PREFIXES if name.startswith(prefix)
    }


def _longest(answer: Iterable[tuple[str, str, int, str]], *, present: bool) -> int:
    """Return how long a cache may keep an answer, or the absence of one."""
    return max([ttl for _, _, ttl, _ in answer] + ([] if present else [NEGATIVE_TTL]))
