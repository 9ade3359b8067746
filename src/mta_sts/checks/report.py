"""What a check found of a domain: points, each in one line with the way out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from mta_sts.findings import Finding


class Area(StrEnum):
    """What a point is about; each is one test case of a JUnit document."""

    RECORD = "record"
    HOST = "policy host"
    POLICY = "policy"
    MX = "mx"
    SMTP = "smtp"
    REPORTS = "reports"
    STACK = "stack"


class Kind(StrEnum):
    """How much a point matters; `skipped` is what could not be looked at, and so did not pass."""

    ERROR = "error"
    WARNING = "warning"
    SKIPPED = "skipped"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Point:
    """One thing that was found: a stable token, where, and one sentence with the record or command that mends it."""

    area: Area
    kind: Kind
    rule: str
    path: str
    message: str

    @classmethod
    def of(cls, area: Area, found: Finding, path: str = "") -> Point:
        """Return the point for a finding of another part, at a place that says more than its own."""
        where = f"{path} {found.path}".strip() if path else found.path
        return cls(area, Kind(found.severity), found.rule, where, found.message)

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.message} [{self.rule}]"


@dataclass(frozen=True, slots=True)
class LookedHost:
    """What was last found at an MX host, and when TLS was last judged there; None where it never was."""

    seen: datetime | None
    points: tuple[Point, ...] = ()


@dataclass(slots=True)
class DomainReport:
    """What was found of one domain; `history` and `smtp` (by MX host) are what the next run must know.

    See `mta_sts.checks.memory`.
    """

    domain: str
    points: Sequence[Point] = ()
    mode: str = ""
    id: str = ""
    max_age: int | None = None
    policy: str = ""
    mx: Sequence[str] = ()
    authentic: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)
    smtp: dict[str, LookedHost] = field(default_factory=dict)
    looked: frozenset[Area] = frozenset()
    """What was looked at: where nothing of an area was, that nothing was found there is no pass."""
    seconds: float = 0.0

    @property
    def smtp_seen(self) -> datetime | None:
        """When TLS was judged at each of its MX hosts, None where that never was."""
        dates = [self.smtp[host].seen if host in self.smtp else None for host in self.mx or [self.domain]]
        return None if None in dates else min(date for date in dates if date)

    def count(self, kind: Kind) -> int:
        """Return how many points are of a kind."""
        return sum(point.kind is kind for point in self.points)

    @property
    def verdict(self) -> str:
        """`errors`, `not sure` where something was skipped, or `good`."""
        if self.count(Kind.ERROR):
            return "errors"
        return "not sure" if self.count(Kind.SKIPPED) else "good"
