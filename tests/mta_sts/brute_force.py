"""The third judge: every engine and every sender, tick by tick, until nothing new happens.

It shares no code with what it judges. One sender may at any moment do whatever some real sender does: look at the id
in any cache, renew or revive what it holds, fetch at once or slowly or without looking, or do nothing. One engine may
at any moment take a step, stop for good, fail and go on with the deletions, begin again, or roll back. The same sender
lives beside it where no engine does anything, and looks and fetches at the same moments: what harms it there as much
is not the change's doing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 400_000
Policy = tuple[str, frozenset[str], int]
"""mode, hosts, max_age in ticks."""
Held = tuple[Policy, str, int] | None
"""A policy, the id it was taken under, and the ticks for which it is still kept."""


@dataclass(frozen=True)
class Step:
    """What is done: `kind` is policy, txt, mx, mx-add, mx-remove or address; `after` are waits in ticks."""

    name: str
    kind: str
    value: object = None
    after: dict[str, int] = field(default_factory=dict)
    ttl: int | None = None
    deletion: bool = False


@dataclass(frozen=True)
class World:
    """One domain: what stands now, with the ticks that caches keep it, and the past of (policy, id, gone, ttl)."""

    mx: tuple[frozenset[str], int]
    txt: tuple[str | None, int]
    policy: tuple[Policy | None, int]
    address_ttl: int
    broken: frozenset[str]
    past: tuple[tuple[Policy, str, int, int], ...]
    fetch_limit: int
    negative_ttl: int
    earlier: tuple[tuple[str, object, int], ...] = ()
    """Values of before that caches still give: (mx, txt or policy; value; ticks)."""


class Place(NamedTuple):
    """A value that can be seen, its TTL, what it still is where nothing is done, and caches: (value, still, ticks)."""

    value: Any
    ttl: int
    still: Any
    caches: frozenset[tuple[Any, Any, int]]

    def seen(self) -> set[tuple[Any, Any]]:
        """Return every value that some cache or the source gives, each with what it gives where nothing is done."""
        return {(self.value, self.still)} | {(value, still) for value, still, _ in self.caches}

    def replaced(self, value: object, ttl: int) -> Place:
        """Return the place with another value; caches keep the old one for its TTL."""
        old = self if value == self.value else self.kept(self.ttl)
        return old._replace(value=value, ttl=ttl)

    def kept(self, ticks: int) -> Place:
        """Return the place with the present value in caches for so many ticks."""
        left = {(value, still): ticks for value, still, ticks in self.caches}
        left[self.value, self.still] = max(left.get((self.value, self.still), 0), ticks)
        return self._replace(caches=frozenset((*key, ticks) for key, ticks in left.items() if ticks > 0))

    def tick(self) -> Place:
        """Return the place a tick later."""
        return self._replace(caches=frozenset((value, still, n - 1) for value, still, n in self.caches if n > 1))


class State(NamedTuple):
    """Everything at one moment; `owners` are the (id, policy) pairs that were published together.

    The engine is up, cleaning (after a failure), again or back, with steps done so long ago. `instead` is held
    where nothing is done. `pending` is a fetch under way: which id, ticks left, MX hosts seen, which id there.
    """

    phase: str
    done: frozenset[tuple[str, int]]
    back: frozenset[tuple[str, int]]
    mx: Place
    txt: Place
    policy: Place
    owners: frozenset[tuple[object, object]]
    held: Held
    instead: Held
    pending: tuple[str, int, tuple[object, object], object] | None = None


def served(policy: object) -> Policy | None:
    """Return what a fetch yields: nothing where no policy stands there, or none that is one."""
    return policy if isinstance(policy, tuple) and policy[0] in ("enforce", "testing", "none") else None


def stuck(held: Held, name: object, body: object) -> bool:
    """Whether this is held under the present id of another policy."""
    return held is not None and held[1] == name and held[0] != body and served(body) is not None


class Model:
    """All that can happen to one domain and one sender.

    `unchanged` is what the id it holds does: nothing, it renews what has not ended, or revives what has; or the sender
    never looks at it.
    """

    def __init__(self, world: World, steps: tuple[Step, ...], back: tuple[Step, ...], unchanged: str) -> None:
        self.world = world
        self.steps = {step.name: step for step in steps}
        self.back = {step.name: step for step in back}
        self.looks, self.unchanged = unchanged != "never looks", unchanged
        self.longest = max([0, *(wait for step in (*steps, *back) for wait in step.after.values())])
        self.harms: set[str] = set()

    def run(self) -> set[str]:
        """Return the harms that can happen; raises MemoryError where the world is too large."""
        seen = set(self.starts())
        fresh = list(seen)
        while fresh:
            state = fresh.pop()
            self.judge(state)
            following = {self.tick(state), *self.engine(state), *self.sender(state)} - seen
            seen |= following
            fresh += following
            if len(seen) > MOST:
                raise MemoryError
        return self.harms

    def starts(self) -> Iterator[State]:
        """Yield the states of now: every policy that a sender may hold of the past, or none."""
        world, nothing = self.world, frozenset[Any]()
        given = [*world.earlier, *(("txt", name, gone + ttl) for _, name, gone, ttl in world.past)]
        places = []
        for kind, now in (("mx", world.mx), ("txt", world.txt), ("policy", world.policy)):
            caches = frozenset((value, value, ticks) for of, value, ticks in given if of == kind and ticks > 0)
            places.append(Place(*now, now[0], caches))
        past = list(world.past)
        if world.policy[0] and world.txt[0]:
            past.append((world.policy[0], world.txt[0], 0, world.txt[1]))
        owners = frozenset((name, body) for body, name, _, _ in past)
        helds: set[Held] = {None}
        for number, (body, name, gone, ttl) in enumerate(past):
            for held in filter(served, {body, past[min(number + 1, len(past) - 1)][0]}):
                helds.add((held, name, max(0, gone + ttl + world.fetch_limit + held[2])))
        yield from (State("up", nothing, nothing, *places, owners, one, one) for one in helds)

    def tick(self, state: State) -> State:
        """Return the state a tick later."""
        most = self.longest
        done, back = (frozenset((name, min(age + 1, most)) for name, age in ages) for ages in (state.done, state.back))
        held, instead = (one and (one[0], one[1], max(0, one[2] - 1)) for one in (state.held, state.instead))
        pending = state.pending and (state.pending[0], state.pending[1] - 1, *state.pending[2:])
        places = state.mx.tick(), state.txt.tick(), state.policy.tick()
        pending = pending if pending and pending[1] >= 0 else None
        return State(state.phase, done, back, *places, state.owners, held, instead, pending)

    def engine(self, state: State) -> Iterator[State]:
        """Yield what the engine can do."""
        phase = state.phase
        ages = dict(state.back if phase == "back" else state.done)
        plan = self.back if phase == "back" else self.steps
        left = [step for step in plan.values() if step.name not in ages]
        waiting = any(not step.deletion for step in left)
        if phase == "up" and waiting and any(step.deletion for step in left):
            yield state._replace(phase="cleaning")
        if phase == "cleaning":
            yield state._replace(phase="again")
        if phase in ("up", "cleaning") and self.back and state.done:
            yield state._replace(phase="back")
        for step in left:
            # Deletions come last, and after a failure they don't wait for what has failed.
            if step.deletion if phase == "cleaning" else not (step.deletion and waiting):
                waits = [(name, wait) for name, wait in step.after.items() if name in plan]
                failed = [name for name, _ in waits if phase == "cleaning" and not plan[name].deletion]
                if all(ages[name] >= wait if name in ages else name in failed for name, wait in waits):
                    yield self.take(state, step)

    def take(self, state: State, step: Step) -> State:
        """Return the state after a step."""
        which = "back" if state.phase == "back" else "done"
        state = state._replace(**{which: getattr(state, which) | {(step.name, 0)}})
        if step.kind == "address":
            return state._replace(policy=state.policy.kept(state.policy.ttl + self.world.address_ttl))
        kind = step.kind.partition("-")[0]
        place, value = getattr(state, kind), step.value
        if kind == "mx":
            hosts = value if isinstance(value, frozenset) else frozenset([value])
            value = {"mx": hosts, "mx-add": place.value | hosts, "mx-remove": place.value - hosts}[step.kind]
        ttl = place.ttl if value or kind == "policy" else self.world.negative_ttl
        owners = state.owners | {(value, state.policy.value)} if kind == "txt" else state.owners
        return state._replace(owners=owners, **{kind: place.replaced(value, ttl if step.ttl is None else step.ttl)})

    def sender(self, state: State) -> Iterator[State]:
        """Yield what the sender can do."""
        held, instead, pending = state.held, state.instead, state.pending
        if not self.looks and held and held[2] > 0:
            # It never looks at the id again, and fetches whenever it likes.
            for body, still in state.policy.seen():
                other = self.taken(instead, still, instead and instead[1])
                yield state._replace(held=self.taken(held, body, held[1]), instead=other)
        elif pending:
            for body, still in state.policy.seen():
                other, fetches_there = self.told(instead, pending[3])
                other = self.taken(other, still, pending[3]) if fetches_there else other
                now = state._replace(held=self.taken(held, body, pending[0]), instead=other, pending=None)
                for hosts in {pending[2], *state.mx.seen()} if served(body) else ():
                    self.deliver(now, hosts, looked=self.looks)
                yield now
        else:
            for look in state.txt.seen():
                yield from self.look(state, *look)

    def look(self, state: State, name: object, still: object) -> Iterator[State]:
        """Yield what comes of a look at the record, which has one id here and perhaps another where nothing is done."""
        held, fetches = self.told(state.held, name)
        instead, fetches_there = self.told(state.instead, still)
        now = state._replace(held=held, instead=instead)
        if fetches:
            # It ends now or later, and both DNS look-ups may lie before it.
            for hosts in state.mx.seen():
                yield now._replace(pending=(name, self.world.fetch_limit, hosts, still))
            return
        for _, body in state.policy.seen() if fetches_there else [(None, None)]:
            moved = now._replace(instead=self.taken(instead, body, still))
            for hosts in state.mx.seen() if held and held[1] == name and held[2] > 0 else ():
                self.deliver(moved, hosts, looked=self.looks)
            yield moved

    def told(self, held: Held, name: object) -> tuple[Held, bool]:
        """Return what a sender holds once it has seen this id, and whether it fetches."""
        if name is None or held is None or held[1] != name:
            return held, name is not None
        if self.unchanged == "nothing" or (self.unchanged == "renews" and not held[2]):
            return held, not held[2]
        return (held[0], held[1], max(held[2], held[0][2])), False

    @staticmethod
    def taken(held: Held, body: object, name: object) -> Held:
        """Return what a sender holds after a fetch for an id, None where it did not fetch."""
        policy = served(body)
        return (policy, name, policy[2]) if policy and isinstance(name, str) else held

    def usable(self, policy: Policy | None, hosts: frozenset[str]) -> frozenset[str]:
        """Return the MX hosts that a sender which holds this policy may use."""
        return hosts & policy[1] - self.world.broken if policy and policy[0] == "enforce" else hosts

    def deliver(self, state: State, hosts: tuple[Any, Any], *, looked: bool) -> None:
        """Note whether a sender that holds a policy is worse off with these MX hosts than where nothing is done."""
        (mx, still), (body, *_), instead, txt = hosts, state.held, state.instead, self.world.txt[0]
        there = instead[0] if instead else None
        # What has ended there would be looked for now.
        if not (instead and (instead[2] > 0 or (self.unchanged == "revives" and instead[1] == txt))):
            there = served(self.world.policy[0]) if txt else None
        used, used_there = self.usable(body, mx), self.usable(there, still)
        # A policy that is kept longer does more harm than one that does the same.
        if not used and (used_there or (still and there and there[2] < body[2])):
            self.harms.add("refused")
        if looked and used and used_there and mx - used - (still - used_there):
            self.harms.add("skipped")

    def judge(self, state: State) -> None:
        """Note the harm that is done in a state."""
        held, instead, txt, policy = state.held, state.instead, self.world.txt[0], self.world.policy[0]
        for hosts in state.mx.seen():
            if not hosts[0] and hosts[1]:
                self.harms.add("refused")
            elif hosts[0] and held and held[2] > 0:
                self.deliver(state, hosts, looked=False)
        gone = state.txt.value is None or not served(state.policy.value)
        if state.mx.value and gone and held and held[2] > 0 and held[0][0] == "enforce" and txt:
            # Where no policy is served anyway, only those that renew the one they hold have something to lose.
            kept = instead and instead[2] > 0 and (instead[0][0], instead[1]) == ("enforce", txt)
            renews = kept and self.unchanged in ("renews", "revives") and held[1] != state.txt.value
            if served(policy) or renews:
                self.harms.add("downgraded")
        locked = self.looks and stuck(held, state.txt.value, state.policy.value) and self.over(state, held)
        if locked and not stuck(instead, txt, policy):
            self.harms.add("locked in")

    def over(self, state: State, held: tuple[Policy, str, int]) -> bool:
        """Whether the change is over; before that, the policy that an id was published for is old but not wrong."""
        if state.phase == "back":
            return len(state.back) == len(self.back)
        return len(state.done) == len(self.steps) or (held[1], held[0]) not in state.owners


def judge(world: World, steps: tuple[Step, ...], back: tuple[Step, ...] = ()) -> set[str]:
    """Return every harm that the steps can do to some sender which doing nothing does not do to it, by name."""
    kinds = ("nothing", "renews", "revives", "never looks")
    return set().union(*(Model(world, steps, back, unchanged).run() for unchanged in kinds))
