"""MX hosts that no sender could tell apart, and the steps that bring or take them: a few stand for all.

Harm depends on an MX RRset only through which *kinds* of hosts are in it: those that the same policies list, that work
or fail alike, that were there before or not. A kind comes with the first of its hosts and goes with the last. So of
steps that do the same to hosts of the same kinds, and wait for the same, any order and any part of them does what the
first one, and then all others at once, do at the times of the first and the last: nothing is lost by looking at these
two alone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from mta_sts.safety.model import Change, Kind, Step, allowed
from mta_sts.safety.runs import hosts_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from mta_sts.safety.model import World


class Joined(NamedTuple):
    """A change of fewer steps, the steps that each joined one stands for by its name, and the kind of each host."""

    change: Change
    stands_for: Mapping[str, Sequence[Step]]
    kinds: Mapping[str, Hashable]


def joined(world: World, change: Change, bodies: Iterable[str]) -> Joined:
    """Return a change with interchangeable MX steps taken together; `bodies` are the enforce policies that matter."""
    lists = [change.steps, change.roll_back or ()]
    kinds = _kinds(world, lists, sorted(bodies))
    stands_for: dict[str, Sequence[Step]] = {}
    few = [_few(steps, kinds, stands_for) for steps in lists]
    stands_for |= {f"back: {name}": steps for name, steps in stands_for.items()}
    return Joined(Change(few[0], None if change.roll_back is None else few[1]), stands_for, kinds)


def _kinds(world: World, lists: Sequence[Sequence[Step]], bodies: Sequence[str]) -> dict[str, Hashable]:
    """Return what tells hosts apart: which sets and policies they are in, and what is done to them."""
    sets = [world.mx, world.broken]
    sets += [one.value for one in world.earlier if one.kind is Kind.MX and isinstance(one.value, frozenset)]
    done: defaultdict[str, list[Hashable]] = defaultdict(list)
    for number, steps in enumerate(lists):
        for step in steps:
            for host in hosts_of(step):
                done[host].append((number, _role(step, steps)))
    hosts = world.mx.union(*sets, done)
    sets += [allowed(body, hosts) for body in bodies]
    return {host: (tuple(host in one for one in sets), frozenset(done[host]), len(done[host])) for host in hosts}


def _role(step: Step, steps: Sequence[Step]) -> Hashable:
    """Return what a step does, whatever hosts it does it to: what it waits for, and what waits for it."""
    waiting = frozenset((other.name, other.after[step.name]) for other in steps if step.name in other.after)
    # To set the whole RRset is something else for each host that is in it.
    alone = step.name if step.kind is Kind.MX else ""
    return step.kind, step.ttl, step.deletion, frozenset(step.after.items()), waiting, alone


def _few(
    steps: Sequence[Step], kinds: Mapping[str, Hashable], stands_for: dict[str, Sequence[Step]]
) -> tuple[Step, ...]:
    """Return steps of which each group of interchangeable ones is two: the first, and then all others at once."""
    groups: defaultdict[Hashable, list[Step]] = defaultdict(list)
    for step in steps:
        hosts = hosts_of(step)
        alone = step.kind not in (Kind.MX_ADD, Kind.MX_REMOVE)
        groups[step.name if alone else (_role(step, steps), frozenset(kinds[host] for host in hosts))].append(step)
    rest_of: dict[str, Step] = {}
    for first, *others in groups.values():
        hosts = frozenset().union(*map(hosts_of, others))
        if others and sum(len(hosts_of(step)) for step in (first, *others)) == len(hosts | hosts_of(first)):
            name = ", ".join(step.name for step in others)
            rest = replace(first, name=name, value=hosts, after={**first.after, first.name: 0.0})
            rest_of |= dict.fromkeys((step.name for step in others), rest)
            stands_for[name] = others
    few = {step.name: step for step in (rest_of.get(step.name, step) for step in steps)}
    names = {name: rest.name for name, rest in rest_of.items()}
    return tuple(
        replace(step, after={names.get(name, name): wait for name, wait in step.after.items()}) for step in few.values()
    )
