"""Time-lines: what DNS and the policy host gave to senders, one event for each change of a value.

An event is a plain mapping, as in `timeline.jsonl`: `t` seconds, `domain`, `kind` (mx, txt, policy; mxtls), `value`
(a list of hosts; the whole TXT string or None; the served body or None; for mxtls the MX hosts that fail) and `ttl`:
how long a cache on the way may go on giving this value after it was replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mta_sts.records import render_sts_record
from mta_sts.safety.model import Kind, World, publications
from mta_sts.safety.runs import after, present

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mta_sts.safety.model import Step, Value
    from mta_sts.safety.runs import State

Event = dict[str, Any]

_DOMAIN = "example.com"
"""A proof is about one domain, whatever its name."""
_INSTANT = 2.0**-12
_LONG_AGO = 10_000.0


def history(world: World) -> list[Event]:
    """Return events before now after which senders hold what a world says they may hold.

    A body whose id went at an unknown time is shown as having stood until now.
    """
    return sorted(_before(world), key=lambda event: float(event["t"]))


def _before(world: World) -> Iterator[Event]:
    known = publications(world)
    ends = [min(one.visible_until, -4 * _INSTANT) for one in known[:-1]]
    begin = min([0.0, *ends]) - _LONG_AGO
    yield _event(begin, "mxtls", sorted(world.broken), 0)
    yield _event(begin, Kind.MX, world.mx, world.mx_ttl)
    for one, start in zip(known, (begin, *ends), strict=False):
        # The file goes first (RFC 8461 §8.1): some fetched it under the id before.
        yield _event(start - _INSTANT, Kind.POLICY, one.body, 0)
        yield _event(start, Kind.TXT, one.id, world.txt_ttl if one.id == world.txt else one.ttl)
    if known and known[-1].id != world.txt:
        end = min(known[-1].visible_until, -3 * _INSTANT)
        yield _event(end - _INSTANT, Kind.POLICY, world.policy, world.policy_ttl)
        yield _event(end, Kind.TXT, world.txt, world.txt_ttl)
    for earlier in world.earlier:
        yield _event(-2 * _INSTANT, earlier.kind, earlier.value, earlier.until + _INSTANT)
    yield from _events(-_INSTANT, present(world))


def recorded(world: World, steps: Sequence[tuple[float, Step]]) -> Iterator[Event]:
    """Yield what these steps, at these times, change for senders."""
    state = present(world)
    for at, step in steps:
        following = after(state, step)
        if following.moved > state.moved:
            # Resolvers lead to the old host, and to the bytes it has, for what its address records allow.
            yield _event(at, Kind.POLICY, state.policy, state.policy_ttl + world.address_ttl)
            yield _event(at, Kind.POLICY, state.policy, state.policy_ttl)
        yield from (event for event in _events(at, following) if event not in list(_events(at, state)))
        state = following


def _events(at: float, state: State) -> Iterator[Event]:
    yield _event(at, Kind.MX, state.mx, state.mx_ttl)
    yield _event(at, Kind.TXT, state.txt, state.txt_ttl)
    yield _event(at, Kind.POLICY, state.policy, state.policy_ttl)


def _event(at: float, kind: str, value: Value | list[str], ttl: float) -> Event:
    if kind == Kind.MX:
        value = sorted(value or ())
    elif kind == Kind.TXT and isinstance(value, str):
        value = render_sts_record(value)
    return {"t": at, "domain": _DOMAIN, "kind": str(kind), "value": value, "ttl": ttl}
