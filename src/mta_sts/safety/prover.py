"""Whether a change can harm any sender: exact on time, over every run of it, compared with doing nothing.

What a sender has to do with is a few moments of a run: when the MX RRset that it uses, the body that it fetched and
the id that it saw stood at their source. Caches say how far two such moments may lie apart, the order of the steps how
far they must. Both are differences between moments, so a harm is possible exactly where no sum of them around a circle
contradicts itself; one circle can be as short as two moments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.safety.alike import joined
from mta_sts.safety.model import Kind, Value, allowed, enforces, max_age, policy_of, publications, served
from mta_sts.safety.runs import Run, check, runs, schedule
from mta_sts.safety.timeline import history, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mta_sts.safety.model import Change, Step, World

_NOW = -1
_INSTANT = 2.0**-10
"""Seconds: how little later a change must be to be seen as one; exact in binary."""


class Harm(StrEnum):
    """What can become of a sender."""

    REFUSED = "refused"  # no MX host that the enforce policy it holds allows works
    LOCKED_IN = "locked in"  # it holds a body under the visible id of another one, and has no reason to look again
    DOWNGRADED = "downgraded"  # it once held enforce, and now delivers without a policy
    SKIPPED = "skipped"  # one that looks at each delivery does not use an MX host, though it uses another


@dataclass(frozen=True, slots=True)
class Failure:
    """How some sender ends worse than without the change: the shortest time-line that shows it.

    `steps` are (seconds from now, step) in order, `held` is the body and id that the sender holds, `fetched` and
    `renewed` when it last took it (negative: before now), `at` when the harm shows. `until` is the date, in seconds
    from now, at which it can no longer happen if the change begins only then; infinite where waiting does not help.
    """

    harm: Harm
    run: str
    steps: tuple[tuple[float, str], ...]
    body: str
    id: str
    hosts: frozenset[str]
    at: float
    until: float
    complete: bool
    """Whether the run has come to its end; False where it is interrupted here."""
    message: str
    events: tuple[Mapping[str, Any], ...] = field(repr=False, compare=False, default=())

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Skip:
    """An MX host that senders which do not look at the id pass by, `until` seconds from the change's end at most."""

    host: str
    until: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a proof says: every harm that the change can do, one of a kind and held body, the shortest first."""

    failures: tuple[Failure, ...]
    skips: tuple[Skip, ...]

    @property
    def safe(self) -> bool:
        """Whether no sender ends worse than without the change."""
        return not self.failures

    @property
    def safe_from(self) -> float | None:
        """Seconds from now after which the same change can begin safely; None where waiting does not help."""
        latest = max((failure.until for failure in self.failures), default=0.0)
        return None if math.isinf(latest) else latest


def prove(world: World, change: Change) -> Verdict:
    """Return whether any sender of any temperament can end worse by a change than by doing nothing.

    Raises ValueError for steps that make no change (two values in no order, steps that wait for each other).
    """
    found: dict[_Key, _Found] = {}
    skips: tuple[Skip, ...] = ()
    check(change)
    few = joined(world, change, _enforced(world, change))
    for number, run in enumerate(runs(world, few.change, few.kinds)):
        search = _Search(world, run, found)
        search.whole = number == 0
        search.look()
        if search.whole:
            skips = search.bounded_skips()
    failures = (_failure(world, one, few.stands_for) for one in found.values())
    return Verdict(tuple(sorted(failures, key=lambda one: (len(one.steps), one.at))), skips)


def _enforced(world: World, change: Change) -> set[str]:
    """Return the enforce policies that some sender may hold or come to hold."""
    steps = (*change.steps, *(change.roll_back or ()))
    ids = {step.value for step in steps if step.kind is Kind.TXT} | {world.txt}
    ids |= {one.value for one in world.earlier if one.kind is Kind.TXT}
    bodies = {step.value for step in steps if step.kind is Kind.POLICY} | {world.policy}
    bodies |= {one.value for one in world.earlier if one.kind is Kind.POLICY}
    bodies |= {pair.body for pair in _pairs(world) if pair.end > 0 or pair.id in ids}
    return {body for body in bodies if isinstance(body, str) and enforces(body)}


_Key = tuple[Harm, str, frozenset[str]]


class _View(NamedTuple):
    """A value that a sender can be given: it stood at its source at a cut, and caches keep it for `ttl` more."""

    cut: int
    value: Value
    ttl: float


class _Holding(NamedTuple):
    """A body that a sender holds under an id."""

    body: str
    id: str


_Instead = _Holding | None
"""What a sender holds if nothing is done."""


class _Case(NamedTuple):
    """A sender that holds this body and sees this view comes to harm.

    `kept` is how long it holds the body unasked; `worse` tells whether it is worse off than with what it holds if
    nothing is done; what is held under the id `lost` is not.
    """

    harm: Harm
    body: str
    view: _View
    kept: float
    worse: Callable[[_Instead], bool]
    lost: str | None = None


class _Pair(NamedTuple):
    """A body under an id that senders may hold from before now, until `end` unless that id is seen again."""

    body: str
    id: str
    end: float


class _Found(NamedTuple):
    """A harm and the run that shows it, before it is put in words."""

    harm: Harm
    run: Run
    body: str
    id: str
    hosts: frozenset[str]
    held_before: bool
    moments: tuple[tuple[int, float], ...]
    """Cuts (bit sets) and their times."""
    size: int
    """How many steps it takes."""
    at: float
    until: float


class _Circles:
    """The moments of one run that a sender has to do with, and whether they can lie as a harm needs them."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[tuple[int, int], float] = {}

    def least(self, early: int, late: int) -> float:
        """Return the least time from one cut to another: -inf where there is none, inf where they exclude another."""
        key = (early, late)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._least(early, late)
        return known

    def _least(self, early: int, late: int) -> float:
        if late in {early, _NOW}:
            return -math.inf
        large = self._run.cuts[late]
        small = 0 if early == _NOW else self._run.cuts[early]
        if small & large == small:
            # The state before any step has stood for long: no moment of it lies after now.
            return self._run.delay(large ^ small) + _INSTANT if large != small else -math.inf
        return -math.inf if small & large == large else math.inf

    def moments(self, cuts: Sequence[int], most: Iterable[tuple[int, int, float]]) -> list[list[float]] | None:
        """Return the least distances between these cuts (last of all: now), or None where there is no such run.

        `most` holds (later, earlier, seconds): how far a moment may lie after another at most, by places in `cuts`.
        """
        nodes = (*cuts, _NOW)
        size = len(nodes)
        least = self.least
        bounds = [bound for bound in most if bound[2] < math.inf]
        for late, early, seconds in bounds:
            if least(nodes[early], nodes[late]) > seconds:
                return None
        distance = [[least(early, late) for late in nodes] for early in nodes]
        for row in distance:
            if math.inf in row:
                return None
        for place, cut in enumerate(cuts):
            if cut == _NOW:  # pinned: a value that caches keep until a known moment
                distance[place][size - 1] = distance[size - 1][place] = 0.0
        for late, early, seconds in bounds:
            distance[late][early] = max(distance[late][early], -seconds)
        _close(distance)
        return None if any(distance[place][place] > 0 for place in range(size)) else distance

    def until(self, cuts: Sequence[int], distance: Sequence[Sequence[float]]) -> float:
        """Return how much later the change must begin for these moments to be impossible, in whole seconds.

        That only moves the cuts after the first step away from now.
        """
        now = len(cuts)
        circles = [self.least(_NOW, cut) + distance[place][now] for place, cut in enumerate(cuts) if cut != _NOW]
        longest = max(circles, default=-math.inf)
        return math.inf if math.isinf(longest) else float(math.ceil(-longest))


def _close(distance: list[list[float]]) -> None:
    """Make each distance the longest way (Floyd and Warshall)."""
    for middle, through in enumerate(distance):
        for row in distance:
            here = row[middle]
            if here > -math.inf:
                for place, there in enumerate(through):
                    row[place] = max(row[place], here + there)


# Places of the cuts in what is asked of _Circles.moments.
_MX, _BODY, _ID, _SEEN = range(4)


class _Search:
    """Looks for harm in one run."""

    whole = False

    def __init__(self, world: World, run: Run, found: dict[_Key, _Found]) -> None:
        self._world = world
        self._run = run
        self._found = found
        self._circles = _Circles(run)
        self._pairs = list(_pairs(world))
        self._policy = list(_views(world, run, Kind.POLICY))
        self._txt = list(_views(world, run, Kind.TXT))
        self._mx = list(_views(world, run, Kind.MX))
        # Publications of ids that caches may still give.
        self._txt += [
            _View(_NOW, one.id, one.visible_until + one.ttl)
            for one in publications(world)
            if one.id != world.txt and 0 < one.visible_until + one.ttl < math.inf
        ]

    def look(self) -> None:
        """Note every harm that this run can do."""
        bodies = {view.value for view in self._policy} | {pair.body for pair in self._pairs}
        enforced = sorted(body for body in bodies if isinstance(body, str) and enforces(body))
        for view in self._mx:
            if not view.value and self._world.mx:
                self._note(Harm.REFUSED, ("", ""), frozenset(), [view.cut], [])
        for body in enforced:
            for view in self._mx:
                self._refused(body, view)
                self._skipped(body, view)
            self._downgraded(body)
        self._locked_in()

    def _refused(self, body: str, view: _View) -> None:
        hosts = _hosts(view)
        if not hosts or self._usable(body, hosts):
            return
        anyway = self._seen_anyway(view)

        def worse(instead: _Instead) -> bool:
            if not anyway or not instead:
                return bool(anyway)
            # A body that is kept longer does more harm than one that does the same.
            return bool(self._usable(instead.body, anyway)) or max_age(instead.body) < max_age(body)

        self._held(_Case(Harm.REFUSED, body, view, max_age(body), worse))

    def _skipped(self, body: str, view: _View) -> None:
        hosts = _hosts(view)
        used = self._usable(body, hosts)
        if used in (hosts, frozenset()):
            return
        anyway = self._seen_anyway(view)

        def worse(instead: _Instead) -> bool:
            used_anyway = self._usable(instead.body if instead else None, anyway)
            return bool(used_anyway and hosts - used - (anyway - used_anyway))

        # A sender that looks at each delivery holds a body only as long as it sees that body's id.
        self._held(_Case(Harm.SKIPPED, body, view, 0.0, worse))

    def _downgraded(self, body: str) -> None:
        """Look for what is held while there is no record, or no policy, to renew it by."""
        world = self._world
        # Where no policy is served anyway, only who renews one by its id alone has one to lose.
        only_renewed = served(world.policy) is None
        for place, state in enumerate(self._run.states if world.txt is not None else ()):
            if state.mx and (state.txt is None or served(state.policy) is None):
                gone = _View(place, frozenset(), 0.0)
                if only_renewed:
                    self._held(_Case(Harm.DOWNGRADED, body, gone, max_age(body), self._renewed, state.txt))
                else:
                    self._held(_Case(Harm.DOWNGRADED, body, gone, max_age(body), lambda _: True))

    def _renewed(self, instead: _Instead) -> bool:
        return instead is not None and instead.id == self._world.txt and enforces(instead.body)

    def _seen_anyway(self, view: _View) -> frozenset[str]:
        """Return the MX hosts that the sender would see in place of this view if nothing were done."""
        return _hosts(view) if view.cut == _NOW else self._world.mx

    def _held_anyway(self, source: _View, record: _View) -> list[_Instead]:
        """Return all that a sender which sees this record and fetches this body may hold if nothing is done.

        A cache from before now gives the same, and every other one what stands now. An id that is the change's doing
        is also seen by those that would go on with what they hold under the present one.
        """
        world = self._world
        told = record.value if record.cut == _NOW else world.txt
        body = source.value if source.cut == _NOW else served(world.policy)
        instead = _Holding(body, told) if isinstance(body, str) and isinstance(told, str) else None
        goes_on = record.value != world.txt and (record.cut != _NOW or body is None)
        # What only caches still give may be taken again, or taken at all, because the record is another one or gone.
        gone = self._learnt and any(view.value is None for view in (*self._txt, *self._policy) if view.cut > 0)
        again = source.cut == _NOW and (goes_on or gone)
        return [instead, *(self._kept if goes_on else ()), *((self._learnt,) if again else ())]

    @cached_property
    def _kept(self) -> list[_Holding]:
        """What senders may hold under the present id, and go on with if nothing is done."""
        world = self._world
        held = [_Holding(pair.body, pair.id) for pair in self._pairs]
        if world.txt is not None:
            caches = (view.value for view in self._policy if view.cut == _NOW)
            held += [_Holding(body, world.txt) for body in caches if isinstance(body, str)]
        return [one for one in held if one.id == world.txt]

    def _usable(self, body: str | None, hosts: frozenset[str]) -> frozenset[str]:
        """Return the MX hosts that a sender which holds this body may use (RFC 8461 §4)."""
        if body is None or not enforces(body):
            return hosts
        return allowed(body, hosts) - self._world.broken

    def _held(self, case: _Case) -> None:
        """Note whether a sender can come into this case."""
        for pair in self._pairs:
            if pair.body == case.body and (case.lost is None or pair.id != case.lost):
                self._held_before(case, pair)
                self._stranded(case, pair)
        for source in self._policy:
            if source.value == case.body:
                self._held_since(case, source)

    def _held_before(self, case: _Case, pair: _Pair) -> None:
        harm, view, kept = case.harm, case.view, case.kept
        hosts, holder = _hosts(view), (pair.body, pair.id)
        before = case.worse(_Holding(*holder))
        if kept and before:
            self._note(harm, holder, hosts, [view.cut], [(_MX, 1, pair.end)], before=True)
        # An id that comes back brings back a body that would have gone without the change.
        revived = case.worse(self._learnt)
        for seen in self._txt:
            comes_back = seen.cut != _NOW and pair.id != self._world.txt
            if seen.value == pair.id and (revived if comes_back else before):
                # Seen at or before the delivery, and kept from then on (some renew, some revive).
                bounds = [(0, 1, seen.ttl + kept), (1, 0, view.ttl)]
                self._note(harm, holder, hosts, [view.cut, seen.cut], bounds, before=True)

    @cached_property
    def _learnt(self) -> _Instead:
        """What a sender that looks comes to hold if nothing is done."""
        world = self._world
        body = served(world.policy)
        return None if body is None or world.txt is None else _Holding(body, world.txt)

    def _stranded(self, case: _Case, pair: _Pair) -> None:
        """Note who goes on with a body from before only because record or policy were gone when it looked."""
        txt, present = self._world.txt, served(self._world.policy)
        if case.harm is Harm.DOWNGRADED or present is None or not case.worse(_Holding(present, txt or "")):
            return
        # Who looks passes by a host because it sees its id again, in another cache.
        again = [seen.ttl for seen in self._txt if seen.cut == _NOW and seen.value == pair.id]
        refused = case.harm is Harm.REFUSED
        end = pair.end if refused else max(again, default=0.0)
        # Some never look at the id, and only fetch.
        looks = txt not in (None, pair.id)
        for gone in (*(self._txt if looks else ()), *(self._policy if looks or refused else ())):
            if gone.value is None and end:
                bounds = [(_MX, 2, end), (1, 2, end), (1, _MX, case.view.ttl)]
                cuts, hosts = [case.view.cut, gone.cut], _hosts(case.view)
                self._note(case.harm, (pair.body, pair.id), hosts, cuts, bounds, before=True)

    def _held_since(self, case: _Case, source: _View) -> None:
        harm, body, view, kept, worse, lost = case
        hosts = _hosts(view)
        limit = self._world.fetch_limit
        for record in self._txt:
            identifier = record.value
            if not isinstance(identifier, str) or identifier == lost:
                continue
            if not any(map(worse, self._held_anyway(source, record))):
                continue
            seen_to_fetched = record.ttl + limit
            fetch = [(_BODY, _ID, seen_to_fetched), (_ID, _BODY, source.ttl)]
            if self._circles.moments([view.cut, source.cut, record.cut], fetch) is None:
                continue
            cuts = [view.cut, source.cut, record.cut]
            # Fetched, then held: the MX look-up comes at or after the fetch.
            held = [
                (_MX, _ID, seen_to_fetched + kept),
                (_MX, _BODY, source.ttl + kept),
                (_ID, _MX, view.ttl),
                (_BODY, _MX, view.ttl),
            ]
            self._note(harm, (body, identifier), hosts, cuts, [*fetch, *held])
            # Both DNS look-ups first, then a slow fetch, in one delivery.
            now = [
                (_MX, _ID, record.ttl),
                (_MX, _BODY, source.ttl),
                (_ID, _MX, view.ttl),
                (_BODY, _MX, view.ttl + limit),
            ]
            if harm is not Harm.DOWNGRADED:
                self._note(harm, (body, identifier), hosts, cuts, [*fetch, *now])
            for seen in self._txt:
                if seen.value == identifier:
                    renewed = [
                        (_MX, _SEEN, seen.ttl + kept),
                        (_SEEN, _MX, view.ttl),
                        (_ID, _SEEN, seen.ttl),
                        (_BODY, _SEEN, seen.ttl),
                        (_ID, _MX, view.ttl),
                        (_BODY, _MX, view.ttl),
                    ]
                    self._note(harm, (body, identifier), hosts, [*cuts, seen.cut], [*fetch, *renewed])
        unseen = source.cut != _NOW and self._run.states[source.cut].txt is None
        anyway = served(self._world.policy)
        if kept and unseen and worse(_Holding(anyway, "") if anyway else None) and self._may_hold_at(source.cut):
            # Some never look at the id: they fetch again as long as they hold anything.
            bounds = [(0, 1, source.ttl + kept), (1, 0, view.ttl)]
            self._note(harm, (body, ""), hosts, [view.cut, source.cut], bounds)

    def _locked_in(self) -> None:
        run = self._run
        last = len(run.cuts) - 1
        ends = [last] if run.again else range(len(run.cuts))
        for end in ends:
            state = run.states[end]
            if state.txt is None or served(state.policy) is None:
                continue
            done = run.cuts[end]
            for body, identifier, cuts, bounds in self._lockable:
                if identifier != state.txt or body == state.policy:
                    continue
                if all(cut == _NOW or run.cuts[cut] & done == run.cuts[cut] for cut in cuts):
                    for published in [[]] if end == last else self._published_for_others(body, identifier, done):
                        moments = [end, *cuts, *published]
                        self._note(Harm.LOCKED_IN, (body, identifier), frozenset(), moments, bounds, before=not cuts)

    @cached_property
    def _formable(self) -> list[tuple[_View, _View, list[tuple[int, int, float]]]]:
        """The bodies that can be fetched and the ids that they can be fetched for (places as in moments)."""
        return [
            (source, record, [(_BODY, _ID, record.ttl + self._world.fetch_limit), (_ID, _BODY, source.ttl)])
            for source in self._policy
            for record in self._txt
            if isinstance(source.value, str) and isinstance(record.value, str)
        ]

    @cached_property
    def _lockable(self) -> list[tuple[str, str, list[int], list[tuple[int, int, float]]]]:
        """What can be held without being locked in if nothing is done, with the cuts and bounds of that."""
        lockable: list[tuple[str, str, list[int], list[tuple[int, int, float]]]] = []
        for source, record, bounds in self._formable:
            if not all(map(self._locked_anyway, self._held_anyway(source, record))):
                lockable.append((str(source.value), str(record.value), [source.cut, record.cut], bounds))
        lockable += [(pair.body, pair.id, [], []) for pair in self._pairs if not self._locked_anyway(pair)]
        return lockable

    def _locked_anyway(self, instead: _Instead | _Pair) -> bool:
        present = served(self._world.policy)
        return instead is not None and instead.id == self._world.txt and present not in (None, instead.body)

    def _published_for_others(self, body: str, identifier: str, done: int) -> list[list[int]]:
        """Return how this id can have been published for another body, as the cuts before and after that step.

        Where the change is interrupted, the body that the id was published for is stale but not wrong.
        """
        run = self._run
        if any((one.body, one.id) == (body, identifier) for one in publications(self._world)):
            return []
        publishing = [
            1 << place
            for place, step in enumerate(run.steps)
            if step.kind is Kind.TXT and step.value == identifier and done >> place & 1
        ]
        if not publishing:
            return [[]]
        return [
            [run.places[cut], run.places[cut | bit]]
            for bit in publishing
            for cut in run.cuts
            if not cut & bit and (cut | bit) & done == cut | bit and cut | bit in run.places
            if run.states[run.places[cut | bit]].policy != body
        ]

    def _may_hold_at(self, cut: int) -> bool:
        """Whether some sender may hold a policy at this cut, and so fetch again without looking at an id."""
        soonest = max(0.0, self._circles.least(_NOW, cut))
        if any(soonest < pair.end for pair in self._pairs):
            return True
        if any(view.cut == _NOW and soonest < view.ttl + self._world.fetch_limit for view in self._txt):
            return True
        done = self._run.cuts[cut]
        seen = [self._run.cuts[view.cut] for view in self._txt if view.value is not None and view.cut != _NOW]
        return any(small & done == small for small in seen)

    def _note(
        self,
        harm: Harm,
        holder: tuple[str, str],
        hosts: frozenset[str],
        cuts: list[int],
        bounds: list[tuple[int, int, float]],
        *,
        before: bool = False,
    ) -> None:
        """Note a harm to who holds this body under this id, if the run has these cuts at such moments."""
        body, identifier = holder
        run = self._run
        masks = [0 if cut == _NOW else run.cuts[cut] for cut in cuts]
        largest = max(masks, key=int.bit_count)
        if not largest >> run.again:
            return  # it happens without the change, or without the roll-back: that is another run's
        key = (harm, body, hosts)
        known = self._found.get(key)
        size = largest.bit_count()
        if known is not None and known.size <= size and math.isinf(known.until):
            return
        distance = self._circles.moments(cuts, bounds)
        if distance is None:
            return
        times = [time if time > -math.inf else 0.0 for time in distance[len(cuts)][: len(cuts)]]
        until = self._circles.until(cuts, distance)
        at = max(0.0, *times)
        if known is not None and (known.size, known.at) <= (size, at):
            self._found[key] = known._replace(until=max(until, known.until))
            return
        moments = tuple((mask, time) for mask, time in zip(masks, times, strict=True) if mask)
        until = max(until, known.until if known else 0.0)
        self._found[key] = _Found(harm, run, body, identifier, hosts, before, moments, size, at, until)

    def bounded_skips(self) -> tuple[Skip, ...]:
        """Return the MX hosts that senders will pass by for a while after the change, though they use others."""
        end = self._run.states[-1]
        now = self._usable(self._learnt.body if self._learnt else None, self._world.mx)
        longest: dict[str, float] = {}
        gone = [(pair.body, pair.end) for pair in self._pairs if pair.id != end.txt]
        gone += [
            (str(source.value), max_age(str(source.value)) + end.txt_ttl + self._world.fetch_limit)
            for source, record, bounds in self._formable
            if record.value != end.txt and self._circles.moments([0, source.cut, record.cut], bounds) is not None
        ]
        for body, until in gone:
            used = self._usable(body, end.mx)
            for host in end.mx - used - (self._world.mx - now) if used else ():
                longest[host] = max(longest.get(host, 0.0), until)
        return tuple(Skip(host, until) for host, until in sorted(longest.items()) if until > 0)


def _hosts(view: _View) -> frozenset[str]:
    return view.value if isinstance(view.value, frozenset) else frozenset()


def _pairs(world: World) -> Iterator[_Pair]:
    """Yield what senders may hold from before now, each body also under the id that its predecessor had.

    The next body stood at the policy host while the id before it was still seen (RFC 8461 §8.1 has the file go first).
    """
    known = publications(world)
    for one, following in zip(known, (*known[1:], None), strict=False):
        for body in filter(served, {one.body, following.body if following else one.body}):
            seen = 0.0 if one.id == world.txt else one.visible_until
            yield _Pair(body, one.id, seen + one.ttl + world.fetch_limit + max_age(body))


def _views(world: World, run: Run, kind: Kind) -> Iterator[_View]:
    """Yield what can be seen of one kind: at each cut, and in caches from before."""
    for earlier in world.earlier:
        if earlier.kind is kind and earlier.until > 0:
            yield _View(_NOW, served(earlier.value) if kind is Kind.POLICY else earlier.value, earlier.until)
    for place, state in enumerate(run.states):
        if kind is Kind.MX:
            yield _View(place, state.mx, state.mx_ttl)
        elif kind is Kind.TXT:
            yield _View(place, state.txt, state.txt_ttl)
        else:
            yield _View(place, served(state.policy), state.policy_ttl + _old_address(world, run, place))


def _old_address(world: World, run: Run, place: int) -> float:
    """Return how long resolvers may lead to the old policy host, where the bytes of this cut stay: 0 if it is not left.

    Policy and address steps stand in one order, so the bytes that stay are those of the last cuts before the move.
    """
    cut = run.cuts[place]
    coming = [step.kind for n, step in enumerate(run.steps) if not cut >> n & 1 and step.kind in _AT_HOST]
    return world.address_ttl if coming and coming[0] is Kind.ADDRESS else 0.0


_AT_HOST = (Kind.POLICY, Kind.ADDRESS)


def _failure(world: World, found: _Found, stands_for: Mapping[str, Sequence[Step]]) -> Failure:
    """Put a harm in words."""
    steps = [(at, one) for at, step in schedule(found.run, found.moments) for one in stands_for.get(step.name, (step,))]
    return Failure(
        harm=found.harm,
        run=found.run.words,
        steps=tuple((at, step.name) for at, step in steps),
        body=found.body,
        id=found.id,
        hosts=found.hosts,
        at=found.at,
        until=found.until,
        complete=found.size == len(found.run.steps),
        message=_message(found, steps),
        events=(*history(world), *recorded(world, steps)),
    )


def _message(found: _Found, steps: Sequence[tuple[float, Step]]) -> str:
    order = ", ".join(f"{step.name} at {_seconds(at)}" for at, step in steps) or "no step at all"
    under = f"under id {found.id}" if found.id else "without looking at the id"
    holder = f"a sender holds {_in_short(found.body)} {under}" + (" from before" if found.held_before else "")
    hosts = ", ".join(sorted(found.hosts)) or "no MX host"
    what = {
        Harm.REFUSED: f"{holder} and sees {hosts}: it may use none of them" if found.body else "no MX host is left",
        Harm.LOCKED_IN: f"{holder}, another body is served, and this id stays: it does not look again",
        Harm.DOWNGRADED: f"{holder} while record or policy are gone: when it expires, mail goes without a policy",
        Harm.SKIPPED: f"{holder} and sees {hosts}: it passes by at least one of them",
    }[found.harm]
    way = f" ({found.run.words})" if found.run.words else ""
    wait = "waiting does not help" if math.isinf(found.until) else f"safe if begun {_seconds(found.until)} from now"
    return f"{found.harm}: {order}{way}; then {what}; {wait}"


def _in_short(body: str) -> str:
    policy = policy_of(body)
    return f"{policy.mode} {{{', '.join(policy.mx)}}}" if policy else "a body that is not valid"


def _seconds(seconds: float) -> str:
    days, rest = divmod(math.ceil(seconds - _INSTANT * 8), 86_400)
    return f"{days} d {rest} s" if days else f"{rest} s"
