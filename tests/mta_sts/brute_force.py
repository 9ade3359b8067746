"""The third judge: every engine and every sender, tick by tick, until nothing new happens.

It shares no code with what it judges. One sender may at any moment do whatever some real sender does: look at the id
in any cache, renew or revive what it holds, fetch at once or slowly or without looking, or do nothing. One engine may
at any moment take a step, stop for good, fail and go on with the deletions, begin again, or roll back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = 400_000
Policy = tuple[str, frozenset[str], int]
"""mode, hosts, max_age in ticks."""


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

    mx: frozenset[str]
    mx_ttl: int
    txt: str | None
    txt_ttl: int
    policy: Policy | None
    policy_ttl: int
    address_ttl: int
    broken: frozenset[str]
    past: tuple[tuple[Policy, str, int, int], ...]
    fetch_limit: int
    negative_ttl: int
    earlier: tuple[tuple[str, object, int], ...] = ()
    """Values of before that caches still give: (mx, txt or policy; value; ticks)."""


class Place(NamedTuple):
    """A value that can be seen: the present one with its TTL, and what caches still give with the ticks left."""

    value: object
    ttl: int
    caches: frozenset[tuple[object, int]]

    def seen(self) -> set[object]:
        """Return every value that some cache or the source gives."""
        return {self.value} | {value for value, _ in self.caches}

    def replaced(self, value: object, ttl: int) -> Place:
        """Return the place with another value; caches keep the old one for its TTL."""
        if value == self.value:
            return Place(value, ttl, self.caches)
        return Place(value, ttl, self.kept(self.value, self.ttl))

    def kept(self, value: object, ticks: int) -> frozenset[tuple[object, int]]:
        """Return the caches with one value kept for so many ticks."""
        left = dict(self.caches)
        left[value] = max(left.get(value, 0), ticks)
        return frozenset((known, ticks) for known, ticks in left.items() if ticks > 0)

    def tick(self) -> Place:
        """Return the place a tick later."""
        return Place(self.value, self.ttl, frozenset((value, ticks - 1) for value, ticks in self.caches if ticks > 1))


class Engine(NamedTuple):
    """Where the engine is: up, cleaning (after a failure), again, back; which steps are done, and for how long."""

    phase: str
    done: frozenset[tuple[str, int]]
    back: frozenset[tuple[str, int]]


class State(NamedTuple):
    """Everything at one moment; `owners` are the (id, policy) pairs that were published together."""

    engine: Engine
    mx: Place
    txt: Place
    policy: Place
    owners: frozenset[tuple[object, object]]
    held: tuple[Policy, str, int] | None
    pending: tuple[str, int, object] | None


def usable(policy: Policy, hosts: frozenset[str], broken: frozenset[str]) -> frozenset[str]:
    """Return the MX hosts that a sender which holds this policy may use."""
    return hosts & policy[1] - broken if policy[0] == "enforce" else hosts


class Model:
    """All that can happen to one domain and one sender."""

    def __init__(self, world: World, steps: tuple[Step, ...], back: tuple[Step, ...] = (), *, looks: bool) -> None:
        self.world = world
        self.steps = {step.name: step for step in steps}
        self.back = {step.name: step for step in back}
        self.looks = looks
        self.longest = max([0, *(wait for step in (*steps, *back) for wait in step.after.values())])
        self.harms: set[str] = set()

    def run(self) -> set[str]:
        """Return the harms that can happen; raises MemoryError where the world is too large."""
        seen = set(self.starts())
        fresh = list(seen)
        while fresh:
            state = fresh.pop()
            self.judge(state)
            for following in self.following(state):
                if following not in seen:
                    seen.add(following)
                    fresh.append(following)
            if len(seen) > MOST:
                raise MemoryError
        return self.harms

    def starts(self) -> Iterator[State]:
        """Yield the states of now: every policy that a sender may hold of the past, or none."""
        world = self.world
        mx = Place(world.mx, world.mx_ttl, self.earlier("mx"))
        txt = Place(world.txt, world.txt_ttl, self.earlier("txt"))
        policy = Place(world.policy, world.policy_ttl, self.earlier("policy"))
        past = list(world.past)
        if world.policy and world.txt:
            past.append((world.policy, world.txt, 0, world.txt_ttl))
        owners = frozenset((name, body) for body, name, _, _ in past)
        helds: set[tuple[Policy, str, int] | None] = {None}
        for number, (body, name, gone, ttl) in enumerate(past):
            for held in {body, past[min(number + 1, len(past) - 1)][0]}:
                helds.add((held, name, max(0, gone + ttl + world.fetch_limit + held[2])))
        for held in helds:
            yield State(Engine("up", frozenset(), frozenset()), mx, txt, policy, owners, held, None)

    def earlier(self, kind: str) -> frozenset[tuple[object, int]]:
        """Return what caches give of one kind at the start."""
        known = {value: ticks for of, value, ticks in self.world.earlier if of == kind and ticks > 0}
        if kind == "txt":
            known |= {name: gone + ttl for _, name, gone, ttl in self.world.past if gone + ttl > 0}
        return frozenset(known.items())

    def following(self, state: State) -> Iterator[State]:
        """Yield what can come next."""
        yield self.tick(state)
        yield from self.engine(state)
        yield from self.sender(state)

    def tick(self, state: State) -> State:
        """Return the state a tick later."""
        engine = state.engine
        older = frozenset((name, min(age + 1, self.longest)) for name, age in engine.done)
        back = frozenset((name, min(age + 1, self.longest)) for name, age in engine.back)
        held = state.held and (state.held[0], state.held[1], max(0, state.held[2] - 1))
        pending = state.pending and (state.pending[0], state.pending[1] - 1, state.pending[2])
        if pending and pending[1] < 0:
            pending = None
        now = Engine(engine.phase, older, back)
        return State(now, state.mx.tick(), state.txt.tick(), state.policy.tick(), state.owners, held, pending)

    # The engine

    def engine(self, state: State) -> Iterator[State]:
        """Yield what the engine can do."""
        phase, done, back = state.engine
        ages = dict(back if phase == "back" else done)
        plan = self.back if phase == "back" else self.steps
        left = [step for step in plan.values() if step.name not in ages]
        waiting = any(not step.deletion for step in left)
        if phase == "up" and waiting and any(step.deletion for step in left):
            yield state._replace(engine=Engine("cleaning", done, back))
        if phase == "cleaning":
            yield state._replace(engine=Engine("again", done, back))
        if phase in ("up", "cleaning") and self.back and done:
            yield state._replace(engine=Engine("back", done, back))
        for step in left:
            if phase == "cleaning" and not step.deletion:
                continue
            if phase != "cleaning" and step.deletion and waiting:
                continue
            if all(self.waited(ages, plan, name, wait, phase) for name, wait in step.after.items() if name in plan):
                yield self.take(state, step)

    @staticmethod
    def waited(ages: dict[str, int], plan: dict[str, Step], name: str, wait: int, phase: str) -> bool:
        """Whether a step has waited long enough for another; a deletion does not wait for what has failed."""
        if name not in ages:
            return phase == "cleaning" and not plan[name].deletion
        return ages[name] >= wait

    def take(self, state: State, step: Step) -> State:
        """Return the state after a step."""
        phase, done, back = state.engine
        taken = frozenset([(step.name, 0)])
        engine = Engine(phase, done, back | taken) if phase == "back" else Engine(phase, done | taken, back)
        state = state._replace(engine=engine)
        if step.kind == "policy":
            place = state.policy
            return state._replace(policy=place.replaced(step.value, place.ttl if step.ttl is None else step.ttl))
        if step.kind == "address":
            place = state.policy
            old = place.kept(place.value, place.ttl + self.world.address_ttl)
            return state._replace(policy=Place(place.value, place.ttl, old))
        if step.kind == "txt":
            ttl = self.world.negative_ttl if step.value is None else state.txt.ttl
            place = state.txt.replaced(step.value, ttl if step.ttl is None else step.ttl)
            return state._replace(txt=place, owners=state.owners | {(step.value, state.policy.value)})
        hosts: frozenset[str] = state.mx.value  # type: ignore[assignment]
        value = step.value if isinstance(step.value, frozenset) else frozenset([step.value])
        hosts = {"mx": value, "mx-add": hosts | value, "mx-remove": hosts - value}[step.kind]  # type: ignore[operator]
        ttl = state.mx.ttl if hosts else self.world.negative_ttl
        return state._replace(mx=state.mx.replaced(hosts, ttl if step.ttl is None else step.ttl))

    # The sender

    def sender(self, state: State) -> Iterator[State]:
        """Yield what the sender can do."""
        held = state.held
        if not self.looks and held and held[2] > 0:
            # It never looks at the id again, and fetches whenever it likes.
            yield from (state._replace(held=(body, held[1], body[2])) for body in self.bodies(state))
            return
        if state.pending:
            name, _, mx = state.pending
            for body in self.bodies(state):
                self.deliver(body, mx, looks=self.looks)
                yield state._replace(held=(body, name, body[2]), pending=None)
            return
        for name in state.txt.seen():
            if not isinstance(name, str):
                continue
            if held and held[1] == name and self.looks:
                # Some renew, some revive.
                yield state._replace(held=(held[0], name, max(held[2], held[0][2])))
            # A fetch begins; it ends now or later, and both DNS look-ups may lie before it.
            for mx in state.mx.seen():
                yield state._replace(pending=(name, self.world.fetch_limit, mx))

    @staticmethod
    def bodies(state: State) -> list[Policy]:
        """Return the policies that can be fetched."""
        return [body for body in state.policy.seen() if isinstance(body, tuple)]

    def deliver(self, body: Policy, mx: object, *, looks: bool) -> None:
        """Note what a sender that holds this policy does with an MX RRset."""
        assert isinstance(mx, frozenset)
        used = usable(body, mx, self.world.broken)
        if not used:
            self.harms.add("refused")
        elif looks and mx - used:
            self.harms.add("skipped")

    def judge(self, state: State) -> None:
        """Note the harm that is done in a state."""
        held = state.held
        for mx in state.mx.seen():
            if not mx:
                self.harms.add("refused")
            elif held and held[2] > 0:
                # It passes by a host although it has just seen its own id: it looks at each delivery.
                self.deliver(held[0], mx, looks=self.looks and held[1] in state.txt.seen())
        world = self.world
        gone = bool(state.mx.value) and (state.txt.value is None or state.policy.value is None)
        if held and held[2] > 0 and held[0][0] == "enforce" and gone and world.txt and world.policy:
            self.harms.add("downgraded")
        if held and self.looks and held[1] == state.txt.value and state.policy.value not in (held[0], None):
            self.stuck(state, held)

    def stuck(self, state: State, held: tuple[Policy, str, int]) -> None:
        """Judge a sender that holds another body under the present id: it is locked in where the change is over."""
        phase, done, back = state.engine
        if phase == "back":
            if len(back) == len(self.back):
                self.harms.add("locked in")
        elif len(done) == len(self.steps) or (held[1], held[0]) not in state.owners:
            self.harms.add("locked in")


def judge(world: World, steps: tuple[Step, ...], back: tuple[Step, ...] = ()) -> set[str]:
    """Return every harm that the steps can do to some sender, by name."""
    return Model(world, steps, back, looks=True).run() | Model(world, steps, back, looks=False).run()
