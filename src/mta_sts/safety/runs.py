"""Every way in which a change can run: in any order, interrupted, failed, tried again, rolled back.

A *run* is a partial order of steps with least delays between them; any step may come any time later, or never. So
one run of all steps stands for each interruption, each later retry and each order at once. Only two things need
runs of their own: deletions that ran although steps before them had failed, and a roll-back.

A *cut* is a set of done steps that is closed under the order: what the world looks like at one moment of a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from mta_sts.policy import Policy, render_policy
from mta_sts.safety.model import NEGATIVE_TTL, Kind, Step, World, allowed, policy_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

    from mta_sts.safety.model import Change

MOST_CUTS = 256
"""More states than this are not looked through: so many steps belong into several changes."""

_MX_KINDS = (Kind.MX, Kind.MX_ADD, Kind.MX_REMOVE)


class TooManyOrdersError(ValueError):
    """So many steps may come in any order that they can't be judged; order them, or split the change."""


@dataclass(frozen=True, slots=True)
class State:
    """What DNS and the policy host give at one moment; a TTL is how long a cache may go on with that value."""

    mx: frozenset[str]
    mx_ttl: float
    txt: str | None
    txt_ttl: float
    policy: str | None
    policy_ttl: float
    moved: int = 0
    """How often the policy host's address has moved."""


@dataclass(frozen=True)
class Run:
    """A partial order of steps: `before[n]` maps the place of each direct predecessor to the least delay after it.

    `again` tells where the steps of a roll-back begin, 0 where there are none.
    """

    world: World
    steps: tuple[Step, ...]
    before: tuple[dict[int, float], ...]
    words: str
    again: int = 0

    @cached_property
    def cuts(self) -> tuple[int, ...]:
        """Every cut as a bit set, smaller ones first."""
        masks = [sum(1 << place for place in before) for before in self.before]
        found = {0}
        fresh = [0]
        while fresh:
            cut = fresh.pop()
            for place, mask in enumerate(masks):
                larger = cut | 1 << place
                if larger != cut and cut & mask == mask and larger not in found:
                    found.add(larger)
                    fresh.append(larger)
            if len(found) > MOST_CUTS:
                raise TooManyOrdersError(
                    f"{len(self.steps)} steps may come in more than {MOST_CUTS} combinations; order them with `after`, "
                    "or split the change"
                )
        return tuple(sorted(found, key=lambda cut: (cut.bit_count(), cut)))

    @cached_property
    def places(self) -> dict[int, int]:
        """Where each cut stands in `cuts`."""
        return {cut: place for place, cut in enumerate(self.cuts)}

    @cached_property
    def states(self) -> tuple[State, ...]:
        """The state at each cut."""
        states: list[State] = []
        places = self.places
        for cut in self.cuts:
            last = next(
                (n for n in reversed(range(len(self.steps))) if cut >> n & 1 and cut & ~(1 << n) in places), None
            )
            if last is None:
                states.append(present(self.world))
            else:
                states.append(after(states[places[cut & ~(1 << last)]], self.steps[last]))
        return tuple(states)

    @cached_property
    def _delays(self) -> dict[int, float]:
        return {}

    def delay(self, steps: int) -> float:
        """Return the least time from the moment before the first of these steps to the moment of the last."""
        known = self._delays.get(steps)
        if known is None:
            ends: dict[int, float] = {}
            for place in range(len(self.steps)):
                if steps >> place & 1:
                    waits = [ends[other] + wait for other, wait in self.before[place].items() if steps >> other & 1]
                    ends[place] = max(waits, default=0.0)
            known = self._delays[steps] = max(ends.values())
        return known


def present(world: World) -> State:
    """Return the state now."""
    return State(world.mx, world.mx_ttl, world.txt, world.txt_ttl, world.policy, world.policy_ttl)


def after(state: State, step: Step) -> State:
    """Return the state once a step is done."""
    match step.kind:
        case Kind.POLICY:
            return replace(state, policy=step.value, policy_ttl=_ttl(step, state.policy_ttl))  # type: ignore[arg-type]
        case Kind.TXT:
            ttl = NEGATIVE_TTL if step.value is None else state.txt_ttl
            return replace(state, txt=step.value, txt_ttl=_ttl(step, ttl))  # type: ignore[arg-type]
        case Kind.ADDRESS:
            return replace(state, moved=state.moved + 1)
        case Kind.MX:
            hosts = hosts_of(step)
        case Kind.MX_ADD:
            hosts = state.mx | hosts_of(step)
        case Kind.MX_REMOVE:
            hosts = state.mx - hosts_of(step)
    return replace(state, mx=hosts, mx_ttl=_ttl(step, state.mx_ttl if hosts else NEGATIVE_TTL))


def _ttl(step: Step, present: float) -> float:
    return present if step.ttl is None else step.ttl


def hosts_of(step: Step) -> frozenset[str]:
    """Return the MX hosts that a step is about."""
    if step.kind not in _MX_KINDS:
        return frozenset()
    return frozenset((step.value,)) if isinstance(step.value, str) else frozenset(step.value or ())


def runs(world: World, change: Change, kinds: Mapping[str, Hashable] | None = None) -> Iterator[Run]:
    """Yield every run of a change; raises ValueError where the steps don't make one.

    `kinds` tells which MX hosts are alike, by name: a roll-back brings them again at once.
    """
    check(change)
    first = [step for step in change.steps if not step.deletion]
    deletions = [step for step in change.steps if step.deletion]
    whole = _in_runs(world, [first, deletions], "")
    yield whole
    interrupted: list[tuple[list[list[Step]], str]] = []
    for cut in whole.cuts:
        done = [step for place, step in enumerate(whole.steps) if cut >> place & 1]
        interrupted.append(([done], f"interrupted after {_named(done)}"))
    for done, deleted in _failures(world, first, deletions):
        left = [step for step in change.steps if step not in done and step not in deleted]
        words = f"{_named([step for step in left if not step.deletion])} failed, deletions ran all the same"
        again = [step for step in left if not step.deletion], [step for step in left if step.deletion]
        yield _in_runs(world, [done, deleted, *again], words)
        interrupted.append(([done, deleted], words))
    for parts, words in interrupted:
        forward = _in_runs(world, parts, words)
        if forward.steps and (back := roll_back(world, change, forward, kinds or {})):
            firsts = [step for step in back if not step.deletion]
            lasts = [step for step in back if step.deletion]
            yield _in_runs(world, [*parts, firsts, lasts], f"{words}, then rolled back", again=len(forward.steps))


def _failures(
    world: World, first: Sequence[Step], deletions: Sequence[Step]
) -> Iterator[tuple[list[Step], list[Step]]]:
    """Yield what was done and what was deleted where some step failed and the engine went on to the deletions."""
    if not deletions:
        return
    firsts = _in_runs(world, [first], "")
    lasts = _in_runs(world, [deletions], "")
    for cut in firsts.cuts[:-1]:
        for gone in lasts.cuts[1:]:
            yield (
                [step for place, step in enumerate(firsts.steps) if cut >> place & 1],
                [step for place, step in enumerate(lasts.steps) if gone >> place & 1],
            )


def _named(steps: Sequence[Step]) -> str:
    return ", ".join(step.name for step in steps) or "nothing"


def _in_runs(world: World, parts: Sequence[Sequence[Step]], words: str, again: int = 0) -> Run:
    """Return the run in which each part begins when the part before it has ended."""
    ordered: list[Step] = []
    before: list[dict[int, float]] = []
    earlier: list[int] = []
    names: dict[str, int] = {}
    for part in parts:
        here: list[int] = []
        for step in _sorted(part):
            waits = {names[name]: wait for name, wait in step.after.items() if name in names}
            names[step.name] = len(ordered)
            before.append(dict.fromkeys(earlier, 0.0) | waits)
            here.append(len(ordered))
            ordered.append(step)
        earlier += here
    run = Run(world, tuple(ordered), tuple(_closed(before)), words, again)
    _check(run)
    return run


def _sorted(steps: Iterable[Step]) -> list[Step]:
    """Sort steps so that each stands after what it waits for."""
    left = {step.name: step for step in steps}
    ordered: list[Step] = []
    while left:
        ready = [step for step in left.values() if not step.after.keys() & left.keys()]
        if not ready:
            raise ValueError(f"these steps wait for each other: {', '.join(left)}")
        ordered += ready
        for step in ready:
            del left[step.name]
    return ordered


def _closed(before: Sequence[dict[int, float]]) -> Iterator[dict[int, float]]:
    """Yield the longest delay after each step that must come before, direct or not."""
    known: list[dict[int, float]] = []
    for waits in before:
        longest: dict[int, float] = {}
        for place, wait in waits.items():
            for other, delay in ((place, 0.0), *known[place].items()):
                longest[other] = max(longest.get(other, 0.0), delay + wait)
        known.append(longest)
        yield longest


def check(change: Change) -> None:
    """Refuse steps that make no change, whatever the world."""
    _check_names(change.steps)
    _check_names(change.roll_back or ())


def _check_names(steps: Sequence[Step]) -> None:
    """Refuse steps that wait for what is not there, or for a deletion: those come last."""
    named = {step.name: step for step in steps}
    if len(named) < len(steps):
        raise ValueError(f"two steps have one name: {_named(steps)}")
    for step in steps:
        for name in step.after:
            if name not in named:
                raise ValueError(f"{step.name} waits for {name}, which is no step of this change")
            if named[name].deletion and not step.deletion:
                raise ValueError(f"{step.name} waits for {name}, but deletions come last; make it a deletion too")


def _check(run: Run) -> None:
    """Refuse steps whose result would depend on chance: two values for one thing in no order."""
    for place, step in enumerate(run.steps):
        for other in range(place):
            if other not in run.before[place] and _collide(run.steps[other], step):
                raise ValueError(f"{run.steps[other].name} and {step.name} need an order: give one `after` the other")


def _collide(one: Step, other: Step) -> bool:
    if one.kind in _MX_KINDS and other.kind in _MX_KINDS:
        return Kind.MX in (one.kind, other.kind) or (one.kind != other.kind and bool(hosts_of(one) & hosts_of(other)))
    places = (Kind.POLICY, Kind.ADDRESS)
    return one.kind == other.kind or (one.kind in places and other.kind in places)


def roll_back(world: World, change: Change, forward: Run, kinds: Mapping[str, Hashable]) -> list[Step]:
    """Return the steps that roll back what a run has done; none where nothing is to be done."""
    if change.roll_back is not None:
        return [replace(step, name=f"back: {step.name}", after=_renamed(step)) for step in change.roll_back]
    now = forward.states[-1]
    steps: list[Step] = []
    # A body or an id that was not there before stays: it is protected as long as senders may hold it.
    body = now.policy if world.policy is None else _still_covering(world.policy, now)
    if body != now.policy:
        steps.append(Step("back: policy", Kind.POLICY, body))
    published = {(state.txt, state.policy) for state in forward.states}
    if world.txt is not None and (steps or len(published) > 1):
        # An id is never published twice, and another body may have been fetched under the one that stands there.
        used = [step.value for step in change.steps]
        fresh = next(name for n in range(len(used) + 1) if (name := f"back{n}{world.txt}"[:32]) not in used)
        wait = max(state.policy_ttl for state in forward.states)
        if any(step.kind is Kind.ADDRESS for step in forward.steps):
            wait += world.address_ttl
        steps.append(Step("back: txt", Kind.TXT, fresh, dict.fromkeys((step.name for step in steps), wait)))
    wait = max(state.txt_ttl for state in forward.states) + world.fetch_limit
    after = dict.fromkeys((step.name for step in steps), wait)
    gone: dict[Hashable, list[str]] = {}
    for host in sorted(world.mx - now.mx):
        gone.setdefault(kinds.get(host, host), []).append(host)
    steps += [Step(f"back: mx {', '.join(hosts)}", Kind.MX_ADD, frozenset(hosts), after) for hosts in gone.values()]
    return steps


def _renamed(step: Step) -> dict[str, float]:
    return {f"back: {name}": wait for name, wait in step.after.items()}


def _still_covering(body: str, now: State) -> str:
    """Return a body with the live MX hosts that it lacks and the present one has, as the component keeps them."""
    policy = policy_of(body)
    known = allowed(now.policy, now.mx) if now.policy is not None else frozenset()
    lacking = known - allowed(body, now.mx)
    if policy is None or not lacking:
        return body
    return render_policy(Policy(policy.version, policy.mode, (*policy.mx, *sorted(lacking)), policy.max_age)).decode()


def schedule(run: Run, cuts: Sequence[tuple[int, float]]) -> list[tuple[float, Step]]:
    """Return the steps with times at which each of these cuts stands at its time; as late as that allows."""
    last = max((cut for cut, _ in cuts), key=int.bit_count, default=0)
    times: dict[int, float] = {}
    for place in reversed(range(len(run.steps))):
        if last >> place & 1:
            latest = [at for cut, at in cuts if cut >> place & 1]
            latest += [at - run.before[later][place] for later, at in times.items() if place in run.before[later]]
            times[place] = min(latest)
    return [(at, run.steps[place]) for place, at in sorted(times.items(), key=lambda pair: (pair[1], pair[0]))]
