"""Replay a time-line with many senders of every temperament, and count what becomes of their mail.

They deliver where it matters: at each event, when a cache runs out, when a policy expires, just before and at it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Any

from mta_sts.safety.model import FETCH_LIMIT, enforces, max_age
from mta_sts.sender import Looks, Outcome, Sender, Temperament, Unchanged, temperaments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mta_sts.sender import Held

_MOMENT = 2.0**-14
"""Seconds: just before."""


@dataclass(slots=True)
class Tally:
    """What became of the deliveries of a replay.

    `skipped` counts deliveries that pass by an MX host though they use another, by senders that look at each delivery
    and see the id they hold; `skipped_unasked` those by others, or whose fetches fail. `locked_in` counts senders,
    when all is over.
    """

    senders: int = 0
    deliveries: int = 0
    refused: int = 0
    locked_in: int = 0
    downgraded: int = 0
    skipped: int = 0
    skipped_unasked: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    """The first of each kind, in words."""

    def add(self, other: Tally) -> None:
        """Add the counts of another replay."""
        self.senders += other.senders
        self.deliveries += other.deliveries
        self.refused += other.refused
        self.locked_in += other.locked_in
        self.downgraded += other.downgraded
        self.skipped += other.skipped
        self.skipped_unasked += other.skipped_unasked
        self.examples = other.examples | self.examples


class Cache(StrEnum):
    """Which of the values that may be given a sender's cache gives."""

    FRESH = "fresh"
    PREVIOUS = "previous"  # the one before the present one, as long as that may be
    STALEST = "stalest"  # the oldest that may be


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a sender's caches give it, how its fetches go, and when it has mail."""

    mx: Cache = Cache.FRESH
    txt: Cache = Cache.FRESH
    policy: Cache = Cache.FRESH
    slow: bool = False
    """A fetch takes all the time that it may."""
    fetches_once: bool = False
    """Only its first fetch succeeds."""
    rests: bool = False
    """After its first delivery it sends nothing until the last event."""


class _Course:
    """One kind of value over time, as each kind of cache gives it."""

    def __init__(self, events: Sequence[Mapping[str, Any]], none: Any) -> None:
        starts = [event["t"] for event in events]
        # (from, until a cache may give it, value); the last one stays.
        spans = [
            (event["t"], end + event["ttl"], event["value"])
            for event, end in zip(events, (*starts[1:], float("inf")), strict=False)
        ]
        self.turns = sorted({point for start, end, _ in spans for point in (start, end) if point < float("inf")})
        self.given: dict[Cache, list[Any]] = {cache: [none] for cache in Cache}
        for turn in self.turns:
            begun = [span for span in spans if span[0] <= turn]
            kept = [value for _, end, value in begun if end > turn] or [none]
            self.given[Cache.FRESH].append(kept[-1])
            self.given[Cache.PREVIOUS].append(kept[-2:][0])
            self.given[Cache.STALEST].append(kept[0])

    def at(self, time: float, cache: Cache = Cache.FRESH) -> Any:
        """Return the value that a cache gives."""
        return self.given[cache][bisect_right(self.turns, time)]

    def alike(self, cache: Cache) -> Cache:
        """Return the first kind of cache that always gives the same as this one."""
        return next(other for other in Cache if self.given[other] == self.given[cache])


class _Scene:
    """What one sender meets: the resolver, policy host and MX hosts of a time-line, by its own clock."""

    def __init__(self, line: _Line, circumstances: Circumstances, fetch_limit: float) -> None:
        self.now = float("-inf")
        self.fetched = False
        self._line = line
        self._is = circumstances
        self._limit = fetch_limit

    def clock(self) -> float:
        return self.now

    def mx(self, _: str) -> list[tuple[int, str]]:
        # A time-line has no preferences: hosts that fail TLS are tried first, so that it shows.
        hosts: list[str] = self._line.mx.at(self.now, self._is.mx)
        return [(10 + self.deliverable(host), host) for host in hosts]

    def txt(self, _: str) -> list[str]:
        found: list[str] = self._line.txt.at(self.now, self._is.txt)
        return found

    def fetch(self, domain: str) -> bytes:
        if self._is.slow:
            self.now += self._limit
        body: bytes | None = self._line.policy.at(self.now, self._is.policy)
        if body is None or (self.fetched and self._is.fetches_once):
            raise ConnectionError(domain)
        self.fetched = True
        return body

    def deliverable(self, host: str) -> bool:
        return host not in self._line.broken.at(self.now)

    def sees_none(self) -> bool:
        """Whether this sender finds no record or no policy now."""
        return not self.txt("") or self._line.policy.at(self.now, self._is.policy) is None


class _Line:
    """The events of one domain."""

    def __init__(self, events: Iterable[Mapping[str, Any]]) -> None:
        # Stable: events of one moment stay in their order.
        ordered = sorted(events, key=lambda event: float(event["t"]))
        by_kind = {kind: [event for event in ordered if event["kind"] == kind] for kind in ("mx", "txt", "policy")}
        broken = [event for event in ordered if event["kind"] == "mxtls"]
        self.mx = _Course(_with(by_kind["mx"], list), [])
        self.txt = _Course(_with(by_kind["txt"], lambda text: text.split(" | ") if text else []), [])
        self.policy = _Course(_with(by_kind["policy"], lambda body: body.encode() if body is not None else None), None)
        self.broken = _Course(_with(broken, frozenset), frozenset())
        self.bodies = sorted({event["value"] for event in by_kind["policy"] if event["value"] is not None})
        points = {turn for course in (self.mx, self.txt, self.policy, self.broken) for turn in course.turns}
        self.begin = min(points)
        self._last = float(ordered[-1]["t"])
        self._moments: dict[tuple[float, bool], list[float]] = {}
        self.critical = sorted(
            {moment for point in points for moment in (point - _MOMENT, point)} - {self.begin - _MOMENT}
        )
        longest = max((max_age(body) for body in self.bodies), default=0)
        self.end = self.critical[-1] + 2 * longest + 2 * 86_400
        self._owner = {event["value"]: self.policy.at(event["t"]) for event in reversed(by_kind["txt"])}
        turns = sorted({*self.txt.turns, *self.policy.turns})
        gone = [not self.txt.at(turn) or self.policy.at(turn) is None for turn in turns]
        self._absent = [turn for turn, before, now in zip(turns, [False, *gone], gone, strict=False) if now > before]

    def alike(self, circumstances: Circumstances, fetch_limit: float) -> Circumstances:
        """Return the first circumstances that are no different here."""
        return replace(
            circumstances,
            mx=self.mx.alike(circumstances.mx),
            txt=self.txt.alike(circumstances.txt),
            policy=self.policy.alike(circumstances.policy),
            slow=circumstances.slow and fetch_limit > 0,
        )

    def moments(self, start: float, *, rests: bool) -> list[float]:
        """Return when a sender delivers that begins at a critical moment."""
        known = self._moments.get((start, rests))
        if known is None:
            later = self.critical[bisect_right(self.critical, start) :]
            expiries = (start + max_age(body) + shift for body in self.bodies for shift in (-_MOMENT, _MOMENT))
            moments = {*later, *expiries, self.end - 1, self.end}
            known = sorted({start, *(moment for moment in moments if moment >= self._last or not rests)})
            self._moments[start, rests] = known
        return known

    def absent_since(self, time: float) -> float:
        """Return when the record or the policy was last removed."""
        place = bisect_right(self._absent, time)
        return self._absent[place - 1] if place else float("-inf")

    def stuck(self, body: str, identifier: str, *, complete: bool) -> bool:
        """Whether a sender that holds this at the end holds it for good though it is another body's id."""
        texts = self.txt.at(self.end)
        served = self.policy.at(self.end)
        if not texts or served is None or f"id={identifier};" not in texts[0] or body.encode() == served:
            return False
        # Where the change was interrupted, the body that the id was published for is old but not wrong.
        return complete or body.encode() != self._owner.get(texts[0])


def _with(events: Sequence[Mapping[str, Any]], read: Any) -> list[dict[str, Any]]:
    return [{"t": float(event["t"]), "ttl": float(event["ttl"]), "value": read(event["value"])} for event in events]


def circumstances() -> Iterator[Circumstances]:
    """Yield every combination of what caches give, how fetches go and when there is mail."""
    for choice in product(Cache, Cache, Cache, (False, True), (False, True), (False, True)):
        yield Circumstances(*choice)


def replay(
    events: Iterable[Mapping[str, Any]],
    senders: Iterable[tuple[Temperament, Circumstances]] | None = None,
    *,
    since: float = float("-inf"),
    complete: bool = True,
    fetch_limit: float = FETCH_LIMIT,
) -> Tally:
    """Let senders deliver along a time-line (see `mta_sts.safety.timeline`), domain by domain.

    Each of `senders` (every combination, if not given; those that are alike here once) begins once at each critical
    moment. What happens before `since` is not counted, nor what is only its continuation (a record that was already
    gone). `complete` says whether the last change ran to its end; where it did not, a sender that still holds what it
    would hold without it is not locked in.
    """
    population = list(product(temperaments(), circumstances())) if senders is None else list(senders)
    by_domain: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        by_domain.setdefault(event["domain"], []).append(event)
    tally = Tally()
    for domain, own in by_domain.items():
        line = _Line(own)
        for temperament, are in dict.fromkeys((kind, line.alike(are, fetch_limit)) for kind, are in population):
            for start in line.critical:
                life = _Life(domain, line, temperament, are, fetch_limit=fetch_limit, tally=tally)
                life.deliver(start, since)
                life.end(complete=complete)
    return tally


class _Life:
    """One sender that lives through a time-line."""

    def __init__(
        self,
        domain: str,
        line: _Line,
        temperament: Temperament,
        circumstances: Circumstances,
        *,
        fetch_limit: float,
        tally: Tally,
    ) -> None:
        self._domain = domain
        self._line = line
        self._words = f"{temperament}, {circumstances}"
        self._rests = circumstances.rests
        self._scene = _Scene(line, circumstances, fetch_limit)
        scene = self._scene
        self._sender = Sender(
            temperament, clock=scene.clock, resolver=scene, fetch=scene.fetch, deliverable=scene.deliverable
        )
        self._tally = tally
        looks = temperament.looks
        asks = looks is Looks.EACH_DELIVERY and not temperament.absence_kept and not circumstances.fetches_once
        self._asks = asks
        self._renews = temperament.unchanged is not Unchanged.NOTHING and looks is not Looks.NEVER

    def deliver(self, start: float, since: float) -> None:
        """Deliver at each moment that matters; count from `since` on."""
        scene, sender, domain = self._scene, self._sender, self._domain
        for moment in self._line.moments(start, rests=self._rests):
            scene.now = max(scene.now, moment)
            before = sender.held.get(domain)
            delivery = sender.deliver(domain)
            if moment < since:
                continue
            self._tally.deliveries += 1
            if delivery.outcome is not Outcome.DELIVERED:
                self._count("refused", delivery)
            elif delivery.skipped:
                sees_its_id = any(f"id={delivery.policy_id};" in text for text in scene.txt(domain))
                self._count("skipped" if self._asks and sees_its_id else "skipped_unasked", delivery)
            elif not delivery.policy_id and before is not None and self._lost(before, since):
                self._count("downgraded", before)
        self._tally.senders += 1

    def _lost(self, before: Held, since: float) -> bool:
        """Whether it goes without a policy because record or policy went while it held enforce."""
        scene = self._scene
        gone = enforces(before.body) and scene.sees_none()
        return gone and since <= self._line.absent_since(scene.now) < before.expires

    def end(self, *, complete: bool) -> None:
        """Look at what it holds when all is over."""
        held = self._sender.held.get(self._domain)
        if self._renews and held is not None and self._line.stuck(held.body, held.id, complete=complete):
            self._count("locked_in", held)

    def _count(self, harm: str, what: object) -> None:
        setattr(self._tally, harm, getattr(self._tally, harm) + 1)
        if harm not in self._tally.examples:
            self._tally.examples[harm] = f"{self._domain} at {self._scene.now:.3f} s: {self._words}: {what}"
