"""Replay a time-line with many senders of every temperament, and count what becomes of their mail.

They deliver where it matters: at each event, when a cache runs out, when a policy expires, just before and at it.
The same sender can be asked what becomes of it where nothing is done.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from mta_sts.safety.model import FETCH_LIMIT, enforces, max_age, policy_of
from mta_sts.sender import Looks, Outcome, Sender, Temperament, Unchanged, temperaments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mta_sts.sender import Delivery, Held

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
        return not self.txt("") or not _valid(self._line.policy.at(self.now, self._is.policy))


def _valid(body: bytes | None) -> bool:
    """Whether a fetch yields a policy."""
    return body is not None and policy_of(body.decode()) is not None


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
        gone = [self.absent(turn) for turn in turns]
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

    def absent(self, time: float) -> bool:
        """Return whether there is no record, or no policy, at its source."""
        return not self.txt.at(time) or not _valid(self.policy.at(time))

    def absent_since(self, time: float) -> float:
        """Return when the record or the policy was last removed."""
        place = bisect_right(self._absent, time)
        return self._absent[place - 1] if place else float("-inf")

    def stuck(self, body: str, identifier: str, *, complete: bool) -> bool:
        """Whether a sender that holds this at the end holds it for good though it is another body's id."""
        texts = self.txt.at(self.end)
        served = self.policy.at(self.end)
        if not texts or not _valid(served) or f"id={identifier};" not in texts[0] or body.encode() == served:
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
    compared: bool = False,
) -> Tally:
    """Let senders deliver along a time-line (see `mta_sts.safety.timeline`), domain by domain.

    Each of `senders` (every combination, if not given; those that are alike here once) begins once at each critical
    moment. What happens before `since` is not counted, nor what is only its continuation (a record that was already
    gone). `complete` says whether the last change ran to its end; where it did not, a sender that still holds what it
    would hold without it is not locked in. `compared` leaves out what harms the same sender as much and as long where
    nothing happens from `since` on.
    """
    population = list(product(temperaments(), circumstances())) if senders is None else list(senders)
    by_domain: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        by_domain.setdefault(event["domain"], []).append(event)
    tally = Tally()
    for domain, own in by_domain.items():
        line = _Line(own)
        before = [event for event in own if event["t"] < since]
        still = _Line(before) if before else None
        for temperament, are in dict.fromkeys((kind, line.alike(are, fetch_limit)) for kind, are in population):
            for start in line.critical:
                moments = line.moments(start, rests=are.rests)
                life = _Life(domain, line, temperament, are, fetch_limit=fetch_limit, moments=moments)
                _Count(life, tally, since=since, complete=complete, still=still, compared=compared).count()
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
        moments: Sequence[float],
    ) -> None:
        self.domain = domain
        self.line = line
        self.temperament = temperament
        self.circumstances = circumstances
        self.scene = _Scene(line, circumstances, fetch_limit)
        self._fetch_limit = fetch_limit
        self._moments = moments
        scene = self.scene
        self._sender = Sender(
            temperament, clock=scene.clock, resolver=scene, fetch=scene.fetch, deliverable=scene.deliverable
        )

    @property
    def held(self) -> Held | None:
        """What it holds."""
        return self._sender.held.get(self.domain)

    def deliveries(self) -> Iterator[tuple[float, Held | None, Delivery]]:
        """Yield each moment, what it held, and what becomes of a mail."""
        for moment in self._moments:
            self.scene.now = max(self.scene.now, moment)
            held = self.held
            yield moment, held, self._sender.deliver(self.domain)

    def on(self, line: _Line) -> Iterator[_Life]:
        """Yield the same sender on another time-line: a fetch that it does not make here fails in vain there."""
        for once in {self.circumstances.fetches_once, False}:
            are = replace(self.circumstances, fetches_once=once)
            limit = self._fetch_limit
            yield _Life(self.domain, line, self.temperament, are, fetch_limit=limit, moments=self._moments)

    @property
    def asks(self) -> bool:
        """Whether it looks at the record at each delivery, and follows it."""
        looks = self.temperament.looks is Looks.EACH_DELIVERY and not self.temperament.absence_kept
        return looks and not self.circumstances.fetches_once

    @property
    def renews(self) -> bool:
        """Whether it may hold a policy for good without a fetch."""
        return self.temperament.unchanged is not Unchanged.NOTHING and self.temperament.looks is not Looks.NEVER


_Nothing = tuple[dict[float, "Delivery"], "Held | None"]
"""The deliveries of a sender by moment, and what it holds in the end, where nothing is done."""


class _Count:
    """What becomes of one sender, compared with doing nothing."""

    def __init__(
        self, life: _Life, tally: Tally, *, since: float, complete: bool, still: _Line | None, compared: bool
    ) -> None:
        self._life = life
        self._tally = tally
        self._since = since
        self._complete = complete
        self._still = still
        self._compared = compared

    def count(self) -> None:
        """Let it live, and count from `since` on."""
        for moment, held, delivery in self._life.deliveries():
            if moment >= self._since:
                self._tally.deliveries += 1
                self._judge(moment, held, delivery)
        self._tally.senders += 1
        held, line = self._life.held, self._life.line
        stuck = self._life.renews and held and line.stuck(held.body, held.id, complete=self._complete)
        if stuck and not (self._compared and any(map(self._stuck_anyway, self._instead))):
            self._note("locked_in", held)

    def _stuck_anyway(self, instead: _Nothing) -> bool:
        _, held = instead
        return bool(held and self._still and self._still.stuck(held.body, held.id, complete=True))

    @cached_property
    def _instead(self) -> list[_Nothing]:
        """What becomes of it where nothing is done, with what may become of a fetch that it makes only there."""
        lives = list(self._life.on(self._still)) if self._still else []
        return [({moment: delivery for moment, _, delivery in life.deliveries()}, life.held) for life in lives]

    def _judge(self, moment: float, held: Held | None, delivery: Delivery) -> None:
        if delivery.outcome is Outcome.DELIVERED and not delivery.skipped:
            if not delivery.policy_id and held is not None and self._lost(moment, held):
                self._note("downgraded", held)
            return
        instead = [deliveries[moment] for deliveries, _ in self._instead] if self._compared else []
        if delivery.outcome is not Outcome.DELIVERED:
            if not any(_refused_as_long(other, delivery) for other in instead):
                self._note("refused", delivery)
        elif not any(_passes_by_as_many(other, delivery) for other in instead):
            sees_its_id = any(f"id={delivery.policy_id};" in text for text in self._life.scene.txt(""))
            self._note("skipped" if self._life.asks and sees_its_id else "skipped_unasked", delivery)

    def _lost(self, moment: float, held: Held) -> bool:
        """Whether it goes without a policy because record or policy went while it held enforce."""
        line, now = self._life.line, self._life.scene.now
        if not enforces(held.body) or not self._life.scene.sees_none():
            return False
        if self._still is None or not self._still.absent(self._still.end):
            return self._since <= line.absent_since(now) < held.expires
        # One of both was missing already: who renewed by the id alone has lost something all the same.
        return all(enforces(deliveries[moment].body) for deliveries, _ in self._instead)

    def _note(self, harm: str, what: object) -> None:
        setattr(self._tally, harm, getattr(self._tally, harm) + 1)
        if harm not in self._tally.examples:
            life = self._life
            words = f"{life.temperament}, {life.circumstances}"
            self._tally.examples[harm] = f"{life.domain} at {life.scene.now:.3f} s: {words}: {what}"


def _refused_as_long(other: Delivery, delivery: Delivery) -> bool:
    """Whether mail fails there as well, and by a policy that is kept no shorter."""
    if Outcome.NO_MX in (other.outcome, delivery.outcome):
        return other.outcome is Outcome.NO_MX
    return other.outcome is not Outcome.DELIVERED and max_age(other.body) >= max_age(delivery.body)


def _passes_by_as_many(other: Delivery, delivery: Delivery) -> bool:
    return other.outcome is not Outcome.DELIVERED or set(delivery.skipped) <= set(other.skipped)
