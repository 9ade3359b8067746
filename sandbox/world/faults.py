"""Misbehaviour on request: API calls that fail, servers that serve the wrong thing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

EDGE_FAULTS = (
    "expired", "not-yet-valid", "wrong-name", "self-signed", "missing-intermediate", "redirect", "not-found",
    "forbidden", "wrong-type", "slow", "reset", "byte-order-mark", "blank-line", "too-large", "endless", "stale",
    "ipv6-broken", "bot-wall", "browser-wall", "tls-1.0", "truncated",
)  # fmt: skip
"""Of one host, but `tls-1.0` of the whole edge: TLS versions are agreed on before the name is known."""
MAIL_FAULTS = (
    "expired", "not-yet-valid", "wrong-name", "self-signed", "missing-intermediate", "no-starttls", "refused",
    "silent", "tls-1.0",
)  # fmt: skip
DNS_FAULTS = ("servfail", "silent", "lame", "bogus", "outdated")
"""At a name, at a whole zone (`lame`, `bogus`), or at one name server of all zones; an `outdated` one lacks their
records, and what is `bogus` fails DNSSEC."""
API_FAULTS = ("denied", "throttle", "error", "drop", "drop-after")
"""`drop` breaks the connection before anything was done, `drop-after` when it was."""


@dataclass(slots=True)
class ApiFault:
    """Calls whose description matches `pattern` fail: the first `skip` pass, then `times` fail (-1: for ever)."""

    pattern: str
    kind: str
    skip: int = 0
    times: int = -1


@dataclass(slots=True)
class Faults:
    """The faults in force, by name of the server or pattern of the call."""

    api: list[ApiFault] = field(default_factory=list)
    edge: dict[str, str] = field(default_factory=dict)
    mail: dict[str, str] = field(default_factory=dict)
    dns: dict[str, str] = field(default_factory=dict)

    def set(self, place: str, name: str, kind: str, **options: Any) -> None:
        """Put a fault in force: `api` by pattern, `edge`, `mail` and `dns` by host name; kind `none` ends it.

        Raises ValueError for a kind that the place does not know.
        """
        known = {"api": API_FAULTS, "edge": EDGE_FAULTS, "mail": MAIL_FAULTS, "dns": DNS_FAULTS}[place]
        if kind not in known and (kind != "none" or place == "api"):
            raise ValueError(f"no fault {kind!r} for {place}; known are {', '.join(known)}")
        if place == "api":
            self.api.append(ApiFault(name, kind, **options))
        elif kind == "none":
            getattr(self, place).pop(name, None)
        else:
            getattr(self, place)[name] = kind

    def clear(self) -> None:
        """End every fault."""
        for faults in (self.api, self.edge, self.mail, self.dns):
            faults.clear()

    def for_call(self, call: str) -> str:
        """Return the kind of fault for an API call, empty for none; counts it."""
        for fault in self.api:
            if not re.search(fault.pattern, call):
                continue
            if fault.skip > 0:
                fault.skip -= 1
            elif fault.times != 0:
                fault.times -= 1
                return fault.kind
        return ""
