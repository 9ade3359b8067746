"""Small worlds and changes for the judges of a change: a second is a tick, a max_age a few of them."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from mta_sts.safety import Change, Circumstances, Earlier, Harm, Kind, Publication, Step, Tally, World, circumstances
from mta_sts.sender import Looks, Temperament, Unchanged
from tests.mta_sts import brute_force

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTS = ("a.example", "b.example")
MODES = ("enforce", "enforce", "enforce", "testing", "none")
NO_POLICY = "no policy at all\n"
"""A file that no sender may use."""


def body(*hosts: str, mode: str = "enforce", max_age: int = 1_209_600) -> str:
    """Return a policy file."""
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in sorted(hosts)), f"max_age: {max_age}"]
    return "\n".join(lines) + "\n"


def plain(text: str | None) -> brute_force.Policy | None:
    """Return a body as the third judge has it."""
    if text is None:
        return None
    if text == NO_POLICY:
        return text, frozenset(), 0
    fields = [line.split(": ") for line in text.splitlines()]
    hosts = frozenset(value for name, value in fields if name == "mx")
    values = dict(fields)
    return values["mode"], hosts, int(values["max_age"])


hosts_of = st.sets(st.sampled_from(HOSTS), min_size=1).map(sorted)
bodies = st.builds(
    lambda hosts, mode, max_age: body(*hosts, mode=mode, max_age=max_age),
    hosts_of,
    st.sampled_from(MODES),
    st.sampled_from((1, 3)),
)
texts = st.one_of(bodies, bodies, bodies, bodies, bodies, st.just(NO_POLICY))
ttls = st.integers(0, 2)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Draw a domain, usually with a record and a policy, each by itself, and a little past."""
    has_record, has_policy = draw(st.sampled_from((True, True, True, False))), draw(st.integers(0, 4))
    txt_ttl = draw(ttls)
    ledger: tuple[Publication, ...] = ()
    if draw(st.booleans()):
        ledger = (Publication(draw(bodies), "i0", -draw(st.integers(0, 3)), draw(ttls)),)
    if has_record and not draw(st.integers(0, 3)):
        # Another body than the one served now was taken under the id that stands there.
        ledger += (Publication(draw(texts), "i1", math.inf, txt_ttl),)
    earlier = []
    for kind, value in ((Kind.MX, hosts_of.map(frozenset)), (Kind.POLICY, bodies), (Kind.TXT, st.just("ia"))):
        if not draw(st.integers(0, 5)):
            earlier.append(Earlier(kind, draw(value), draw(st.integers(1, 3))))
    return World(
        mx=frozenset(draw(hosts_of)),
        mx_ttl=draw(ttls),
        txt="i1" if has_record else None,
        txt_ttl=txt_ttl,
        policy=draw(texts) if has_policy else None,
        policy_ttl=draw(st.sampled_from((0, 0, 2))),
        address_ttl=draw(ttls),
        broken=frozenset(draw(st.sampled_from(((), (), (), HOSTS[:1], HOSTS[1:])))),
        ledger=ledger,
        earlier=tuple(earlier),
        fetch_limit=draw(st.sampled_from((0, 1))),
    )


@st.composite
def _step(draw: st.DrawFn, name: str, before: Sequence[Step], ids: Sequence[str | None]) -> Step:
    kinds = (Kind.POLICY, Kind.POLICY, Kind.TXT, Kind.TXT, Kind.MX_ADD, Kind.MX_REMOVE, Kind.MX, Kind.ADDRESS)
    kind = draw(st.sampled_from(kinds))
    values: dict[Kind, st.SearchStrategy[Any]] = {
        Kind.POLICY: st.one_of(texts, texts, texts, st.none()),
        Kind.TXT: st.sampled_from(ids),
        Kind.MX: hosts_of.map(frozenset),
        Kind.MX_ADD: st.sampled_from(HOSTS),
        Kind.MX_REMOVE: st.sampled_from(HOSTS),
        Kind.ADDRESS: st.none(),
    }
    waits = st.sampled_from((0, 0, 1, 2, 3, 4, 6))
    # Most changes are chains: few orders of independent steps are all right.
    deletion = draw(st.integers(0, 3)) == 0
    possible = [other.name for other in before if deletion or not other.deletion]
    after = {other: draw(waits) for other in possible if draw(st.integers(0, 3))}
    return Step(name, kind, draw(values[kind]), after, draw(ttls), deletion=deletion)


@st.composite
def step_lists(draw: st.DrawFn, prefix: str, most: int) -> tuple[Step, ...]:
    """Draw steps in some order; not all of them make a change."""
    steps: list[Step] = []
    for number in range(draw(st.integers(1, most))):
        steps.append(draw(_step(f"{prefix}{number}", tuple(steps), ("i2", "i2", "i3", "i0", "i1", None))))
    return tuple(steps)


@st.composite
def changes(draw: st.DrawFn, most: int = 3) -> Change:
    """Draw a change, with roll-back steps of its own or none."""
    roll_back = draw(st.one_of(st.just(()), st.just(()), step_lists("r", 2)))
    return Change(draw(step_lists("s", most)), roll_back)


def third(world: World, change: Change | None = None) -> set[str]:
    """Ask the third judge."""
    steps = change.steps if change else ()
    back = (change.roll_back or ()) if change else ()
    past = tuple(
        (plain(one.body), one.id, 0 if one.id == world.txt else int(one.visible_until), int(one.ttl))
        for one in world.ledger
    )
    small = brute_force.World(
        (world.mx, int(world.mx_ttl)), (world.txt, int(world.txt_ttl)), (plain(world.policy), int(world.policy_ttl)),
        int(world.address_ttl), world.broken, past, int(world.fetch_limit), negative_ttl=1,
        earlier=tuple(
            (str(one.kind), plain(one.value) if one.kind is Kind.POLICY else one.value, int(one.until))
            for one in world.earlier
        ),
    )  # fmt: skip
    return brute_force.judge(small, _plain_steps(steps), _plain_steps(back))


def _plain_steps(steps: Sequence[Step]) -> tuple[brute_force.Step, ...]:
    return tuple(
        brute_force.Step(
            step.name,
            str(step.kind),
            plain(step.value) if step.kind is Kind.POLICY and isinstance(step.value, str) else step.value,
            {name: int(wait) for name, wait in step.after.items()},
            None if step.ttl is None else int(step.ttl),
            step.deletion,
        )
        for step in steps
    )


def population() -> list[tuple[Temperament, Circumstances]]:
    """Return the senders that differ in what they can hold: fewer than all temperaments, and as dangerous."""
    habits = [
        (Looks.EACH_DELIVERY, Unchanged.RENEWS, True),
        (Looks.EACH_DELIVERY, Unchanged.REVIVES, False),
        (Looks.AT_EXPIRY, Unchanged.REVIVES, True),
        (Looks.NEVER, Unchanged.NOTHING, True),
        (Looks.NEVER, Unchanged.NOTHING, False),
    ]
    kinds = [
        Temperament(looks=looks, unchanged=unchanged, mx_first=mx_first, refetch_after=0, asks_before_refusing=False)
        for looks, unchanged, mx_first in habits
    ]
    return list(product(kinds, circumstances()))


def count_of(harm: Harm, tally: Tally) -> int:
    """Return how often a harm was done."""
    return {
        Harm.REFUSED: tally.refused,
        Harm.LOCKED_IN: tally.locked_in,
        Harm.DOWNGRADED: tally.downgraded,
        Harm.SKIPPED: tally.skipped,
    }[harm]


def later(world: World, seconds: float) -> World:
    """Return a world so much later, with nothing done."""
    return replace(
        world,
        ledger=tuple(replace(one, visible_until=one.visible_until - seconds) for one in world.ledger),
        earlier=tuple(replace(one, until=one.until - seconds) for one in world.earlier),
    )


COPIES = ("one", "two", "three")


def _copies(hosts: frozenset[str]) -> frozenset[str]:
    return frozenset(f"{copy}.{host}" for host in hosts for copy in COPIES)


def _copied(text: str | None) -> str | None:
    """Return a body that lists each host three times over."""
    policy = plain(text)
    known = policy is not None and text != NO_POLICY
    return body(*_copies(policy[1]), mode=policy[0], max_age=policy[2]) if policy and known else text


def spread(world: World) -> World:
    """Return a world with three MX hosts that are alike in the place of each."""
    return replace(
        world,
        mx=_copies(world.mx),
        broken=_copies(world.broken),
        policy=_copied(world.policy),
        ledger=tuple(replace(one, body=_copied(one.body) or "") for one in world.ledger),
        earlier=tuple(replace(one, value=_spread_value(one.kind, one.value)) for one in world.earlier),
    )


def _spread_value(kind: Kind, value: Any) -> Any:
    if kind is Kind.POLICY:
        return _copied(value)
    return _copies(value) if kind is Kind.MX else value


def spread_steps(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps for them: three that add or remove one, in no order, in the place of one that did."""
    one_by_one = (Kind.MX_ADD, Kind.MX_REMOVE)
    names = {
        step.name: [f"{step.name} {copy}" for copy in COPIES] if step.kind in one_by_one else [step.name]
        for step in steps
    }
    made = []
    for step in steps:
        after = {name: wait for other, wait in step.after.items() for name in names[other]}
        if step.kind in one_by_one:
            made += [
                replace(step, name=name, value=f"{copy}.{step.value}", after=after)
                for name, copy in zip(names[step.name], COPIES, strict=True)
            ]
        else:
            made.append(replace(step, value=_spread_value(step.kind, step.value), after=after))
    return tuple(made)
