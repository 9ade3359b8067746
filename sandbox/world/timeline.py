"""The time-line: every change that is visible from outside, written down by the world itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mta_sts import txt_value
from sandbox.world.internet import NEGATIVE_TTL

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.world.clock import Clock
    from sandbox.world.dns import Zones
    from sandbox.world.edge import Edge


class Timeline:
    """Looks at each domain after every change, and appends what differs: one JSON object a line.

    `ttl` is the longest time that a cache on the way may go on giving this value after it was replaced.
    """

    def __init__(self, file: Path, clock: Clock, zones: Zones, edge: Edge) -> None:
        self._file = file
        self._clock = clock
        self._zones = zones
        self._edge = edge
        self._seen: dict[tuple[str, str], tuple[Any, int]] = {}
        self._targets: dict[str, tuple[str, int]] = {}
        for event in self.events():
            self._seen[event["domain"], event["kind"]] = (event["value"], event["ttl"])

    def events(self) -> list[dict[str, Any]]:
        """Return everything recorded so far."""
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text(encoding="utf-8").splitlines()]

    def look(self, domains: set[str]) -> None:
        """Record what has changed for these domains, and for those that were ever seen."""
        for domain in sorted(domains | {domain for domain, _ in self._seen}):
            self._record(domain, "mx", *self._mx(domain))
            self._record(domain, "txt", *self._txt(domain))
            self._record_policy(domain)

    def _mx(self, domain: str) -> tuple[list[str], int]:
        answer, _ = self._zones.resolve(domain, "MX")
        hosts = sorted(text.split()[1].rstrip(".") for _, kind, _, text in answer if kind == "MX")
        return hosts, max((ttl for _, _, ttl, _ in answer), default=NEGATIVE_TTL)

    def _txt(self, domain: str) -> tuple[str | None, int]:
        answer, _ = self._zones.resolve(f"_mta-sts.{domain}", "TXT")
        texts = [txt_value(text) for _, kind, _, text in answer if kind == "TXT"]
        if not texts:
            return None, NEGATIVE_TTL
        return " | ".join(texts), max(ttl for _, _, ttl, _ in answer)

    def _record_policy(self, domain: str) -> None:
        host = f"mta-sts.{domain}"
        chain, _ = self._zones.resolve(host, "A")
        target = next((text for _, kind, _, text in chain if kind == "CNAME"), "")
        ttl_of_name = max((ttl for owner, _, ttl, _ in chain if owner == host), default=NEGATIVE_TTL)
        body: str | None = None
        keep = 0
        if any(kind == "A" for _, kind, _, _ in chain):
            answer, keep = self._edge.served(host)
            body = answer.body.decode("utf-8", "replace") if answer.status == 200 else None  # noqa: PLR2004
        old_target, old_ttl = self._targets.get(domain, ("", NEGATIVE_TTL))
        if target != old_target:
            # The host has moved: resolvers lead to the old one for what is left of its record.
            old_value, old_keep = self._seen.get((domain, "policy"), (None, 0))
            self._record(domain, "policy", old_value, old_keep + old_ttl)
        self._targets[domain] = (target, ttl_of_name)
        self._record(domain, "policy", body, keep)

    def _record(self, domain: str, kind: str, value: Any, ttl: int) -> None:
        if self._seen.get((domain, kind)) == (value, ttl):
            return
        self._seen[domain, kind] = (value, ttl)
        event = {"t": self._clock.now, "domain": domain, "kind": kind, "value": value, "ttl": ttl}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
