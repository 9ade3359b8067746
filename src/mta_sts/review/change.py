"""A domain's part of a plan as what `mta_sts.safety` judges: a world, and the steps of a change in their order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mta_sts.cloud_resources import UnseenError
from mta_sts.ledger import FETCH_SECONDS
from mta_sts.policy import Mode
from mta_sts.review.parts import HOST, Role
from mta_sts.review.remarks import told
from mta_sts.safety import Change, Kind, Publication, Step, World
from mta_sts.safety.model import policy_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mta_sts.policy import Policy
    from mta_sts.review.live import Live
    from mta_sts.review.parts import Part
    from mta_sts.review.world import Domain, Side

_USUAL_TTL = 3600
"""Seconds; for MX records that no plan shows and nobody changes it decides nothing."""
_MOST_MX_STEPS = 5
"""More steps of MX records than this are judged as few: all hosts that come at once, all that go at once."""


@dataclass(frozen=True, slots=True)
class Judgeable:
    """What can be judged, and what it rests on besides the plan, one sentence each."""

    world: World
    change: Change
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Made:
    """A step of the model, and the parts that it comes from."""

    step: Step
    parts: tuple[Part, ...]


def judgeable(domain: Domain, live: Live | None = None) -> list[Judgeable]:
    """Return each world that the change may meet, the plan's own first; none where senders see no change.

    `live` is what is published now. It fills in what no plan shows, and beside what a plan shows it only adds: a
    look-up can meet another view of DNS, or the moment after a deletion. Raises UnseenError where neither shows enough.
    """
    made = [*_host_steps(domain), *_record_steps(domain), *_mx_steps(domain)]
    if not made:
        return []
    before = domain.side(after=False)
    found = []
    for identifier, body in _published(before, live):
        for hosts, assumptions in _mx_hosts(domain, before, body, live):
            world = World(
                mx=hosts,
                mx_ttl=max(before.ttl(Role.MX, _USUAL_TTL), live.mx_ttl if live else 0),
                txt=identifier,
                txt_ttl=max(before.ttl(Role.RECORD, _USUAL_TTL), live.txt_ttl if live else 0),
                policy=body,
                policy_ttl=_edge_seconds(domain, before) if body is not None and any(map(_at_host, made)) else 0,
                address_ttl=before.ttl(Role.NAME, _USUAL_TTL),
                ledger=_held(before, (identifier, body), live),
            )
            # Nobody knows how others roll back; our component never uses an id twice.
            change = Change(tuple(_ordered(domain, world, made)), None if domain.ours else ())
            found.append(Judgeable(world, change, assumptions))
    return found


def differs(domain: Domain, live: Live | None) -> str:
    """Return how what is published now contradicts the plan's old state while no ledger tells which one holds."""
    if live is None or live.ledger is not None:
        return ""
    before = domain.side(after=False)
    wanted = told(lambda: before.id)
    if before.has(Role.RECORD) and live.texts is not None and live.id != wanted:
        return f"`_mta-sts` shows {live.id or 'no usable record'} now, and {wanted or 'none'} in the stack"
    if before.has(Role.OBJECT) and live.served and live.body != told(lambda: before.body):
        return "the policy host serves another policy now than the stack holds, or none"
    gone = (told(lambda: before.hosts) or frozenset[str]()) - (live.mx or frozenset())
    return f"MX {', '.join(sorted(gone))} in the stack can't be found in DNS" if gone and live.mx is not None else ""


def _published(before: Side, live: Live | None) -> list[tuple[str | None, str | None]]:
    """Return each id and policy that senders may be given now, the plan's first; raises UnseenError without any."""
    found: list[tuple[str | None, str | None]] = []
    unseen: UnseenError | None = None
    try:
        found.append(_published_by_plan(before))
    except UnseenError as error:
        unseen = error
    if live is not None and (live.texts is not None or live.served):
        try:
            identifier = before.id if live.texts is None else live.id
            pair = identifier, live.body if live.served else before.body
            if (live.texts is not None or before.has(Role.RECORD)) and pair not in found:
                found.append(pair)
        except UnseenError as error:
            unseen = unseen or error
    if not found and unseen is not None:
        raise unseen
    return found


def _published_by_plan(before: Side) -> tuple[str | None, str | None]:
    """Return the id and the policy that the plan's old state publishes; raises UnseenError."""
    if not before.has(Role.OBJECT) and not before.has(Role.RECORD):
        raise UnseenError("nothing of its MTA-STS is in the plan: whether senders hold a policy can't be told")
    if not before.has(Role.RECORD):
        raise UnseenError("its `_mta-sts` record is not in the plan: whether senders learn of a change can't be told")
    return before.id, before.body


def _held(before: Side, published: tuple[str | None, str | None], live: Live | None) -> tuple[Publication, ...]:
    """Return what senders may hold besides what is published: the ledger, and what the plan's old state published."""
    past = (live.ledger or ()) if live else ()
    body = told(lambda: before.body)
    identifier = told(lambda: before.id) if before.has(Role.RECORD) else (live and live.id) or "unknown"
    if body is None or identifier is None or (identifier, body) == published:
        return past
    if any((one.id, one.body, one.visible_until) == (identifier, body, math.inf) for one in past):
        return past
    return (*past, Publication(body, identifier))


def _mx_hosts(
    domain: Domain, before: Side, body: str | None, live: Live | None
) -> Iterator[tuple[frozenset[str], tuple[str, ...]]]:
    """Yield each set of MX hosts that may be in DNS now, and what is assumed with it; raises UnseenError."""
    seen = live.mx if live else None
    if before.has(Role.MX):
        yield before.hosts, ()
        if seen is not None and seen != before.hosts:
            yield seen, ()
    elif seen is not None:
        yield seen, ()
    else:
        served = policy_of(told(lambda: domain.side(after=True).body) or "")
        hosts = _hosts_that_stand_for_all(domain, policy_of(body or ""), served)
        yield hosts, ("Its MX records are not in the plan: taken to be those that the policy lists, unchanged.",)


def _at_host(made: _Made) -> bool:
    return _axis(made.step.kind) == "host"


def _edge_seconds(domain: Domain, before: Side) -> int:
    """Return how long an edge goes on with the old file; our component waits for the edge itself."""
    seconds = before.edge_seconds
    if seconds is None and not domain.ours:
        raise UnseenError("its policy host is not in the plan: how long it goes on with the old file can't be told")
    return seconds or 0


def _hosts_that_stand_for_all(domain: Domain, old: Policy | None, new: Policy | None) -> frozenset[str]:
    """Return MX hosts in the place of those that no plan shows: one for each pattern of the policy.

    Our component has looked at the live ones, and keeps every one of them in the policy.
    """
    patterns = set(old.mx if old else new.mx if new else ())
    if domain.ours and new is not None and new.mx:
        patterns = patterns & set(new.mx) or set(new.mx)
    elif not domain.ours and new is not None and _asks_more(old, new):
        raise UnseenError("its MX records are not in the plan: whether the new policy lists all of them can't be told")
    return frozenset(pattern.replace("*.", "any-host.") for pattern in patterns)


def _asks_more(old: Policy | None, new: Policy) -> bool:
    """Whether a policy may refuse hosts that the one before it did not."""
    if new.mode is not Mode.ENFORCE:
        return False
    return old is None or old.mode is not Mode.ENFORCE or not set(old.mx) <= set(new.mx)


def _host_steps(domain: Domain) -> Iterator[_Made]:
    """Yield how the served policy changes, and where the policy host's name leads."""
    now, leads_as_before = domain.side(after=False), True
    for part in _worst_order(domain):
        moved = domain.moved(now, part)
        if part.role is Role.NAME and leads_as_before and _leads_elsewhere(now, moved):
            # Also where the former address is another resource that goes at the end: it is found at least as long.
            leads_as_before = False
            yield _Made(Step("mta-sts leads to another policy host", Kind.ADDRESS), (part,))
        for following in ([now.without_part(part)] if part.gap else []) + [moved]:
            if now.body != following.body:
                words = "the new policy is served" if following.body else "the policy is served no more"
                ttl = None if domain.ours else following.edge_seconds
                yield _Made(Step(words, Kind.POLICY, following.body, ttl=ttl, deletion=part.deletion), (part,))
            now = following


def _leads_elsewhere(now: Side, following: Side) -> bool:
    """Whether the policy host's name is there at both times, and leads to another place."""
    old, new = (
        {getattr(value, "values", value) for part, value in side.parts if part.role is Role.NAME and value is not None}
        for side in (now, following)
    )
    return bool(old and new) and old != new


def _worst_order(domain: Domain) -> list[Part]:
    """Return the changes at the policy host: its name moves first where nothing makes it wait.

    Then the former host, which resolvers go on to find, has still the old file.
    """
    changing = [part for part in domain.of(*HOST) if part.changes]
    order = domain.order
    moving = [
        part
        for part in changing
        if part.role is Role.NAME
        and not part.deletion
        and not any(order is not None and order.comes_before(other, part) for other in changing if other is not part)
    ]
    return [*moving, *(part for part in changing if part not in moving)]


def _record_steps(domain: Domain) -> Iterator[_Made]:
    """Yield how the id that senders see changes."""
    now = domain.side(after=False)
    for part in domain.of(Role.RECORD):
        if not part.changes:
            continue
        for following in ([now.without_part(part)] if part.gap else []) + [domain.moved(now, part)]:
            if now.id != following.id:
                words = f"_mta-sts shows id {following.id}" if following.id else "_mta-sts shows no usable record"
                ttl = following.ttl(Role.RECORD, _USUAL_TTL) if following.id else None
                yield _Made(Step(words, Kind.TXT, following.id, ttl=ttl, deletion=part.deletion), (part,))
            now = following


def _mx_steps(domain: Domain) -> Iterator[_Made]:
    """Yield which MX hosts come and go. One that leaves one record and comes in another stays."""
    parts = [part for part in domain.of(Role.MX) if part.changes]
    if not parts:
        return
    before, after = domain.side(after=False).hosts, domain.side(after=True).hosts
    made = []
    for part in parts:
        old = part.old.hosts if part.old else frozenset()
        new = part.new.hosts if part.new else frozenset()
        again = old & new - _hosts_besides(domain, part) if part.gap else frozenset()
        for kind, hosts in (
            (Kind.MX_REMOVE, again),
            (Kind.MX_ADD, (new - old) & (after - before) | again),
            (Kind.MX_REMOVE, (old - new) & (before - after)),
        ):
            if hosts:
                made.append(_Made(_mx_step(kind, hosts, part.new.ttl if part.new else None, part.deletion), (part,)))
    if len(made) <= _MOST_MX_STEPS:
        yield from made
        return
    for kind, deletion in ((Kind.MX_ADD, False), (Kind.MX_REMOVE, False), (Kind.MX_REMOVE, True)):
        alike = [one for one in made if (one.step.kind, one.step.deletion) == (kind, deletion)]
        if alike:
            hosts = frozenset(host for one in alike for host in one.step.value or ())
            ttl = max((one.step.ttl for one in alike if one.step.ttl is not None), default=None)
            yield _Made(_mx_step(kind, hosts, ttl, deletion), tuple(part for one in alike for part in one.parts))


def _hosts_besides(domain: Domain, part: Part) -> frozenset[str]:
    """Return the hosts that other MX records name before and after."""
    others = [other for other in domain.of(Role.MX) if other is not part and other.old and other.new]
    return frozenset(host for other in others for host in other.old.hosts & other.new.hosts)


def _mx_step(kind: Kind, hosts: frozenset[str], ttl: float | None, deletion: bool) -> Step:
    words = "enter DNS" if kind is Kind.MX_ADD else "leave DNS"
    words = words if len(hosts) > 1 else words.replace(" ", "s ")
    return Step(f"{', '.join(sorted(hosts))} {words}", kind, hosts, ttl=ttl, deletion=deletion)


def _ordered(domain: Domain, world: World, made: Sequence[_Made]) -> Iterator[Step]:
    """Yield the steps, each with what it waits for: the engine's order, and our component's barriers."""
    names: dict[str, int] = {}
    earlier: list[_Made] = []
    record_ttl = max([world.txt_ttl, *(one.step.ttl or 0 for one in made if one.step.kind is Kind.TXT)])
    for one in made:
        name = one.step.name
        names[name] = names.get(name, 0) + 1
        if names[name] > 1:
            name = f"{name} ({names[name]})"
        after: dict[str, float] = {}
        for other in earlier:
            if _waits(domain, one, other):
                after[other.step.name] = _barrier(world, one, other, record_ttl)
        # A step may wait for one that was made after it: the engine's order is none of ours.
        step = replace(one.step, name=name, after=after)
        earlier.append(_Made(step, one.parts))
    steps = {one.step.name: one for one in earlier}
    for one in earlier:
        late = {
            other.step.name: 0.0
            for other in earlier
            if other.step.name not in one.step.after
            and one.step.name not in other.step.after
            and other is not one
            and other.step.deletion == one.step.deletion
            and _engine_waits(domain, one, other)
        }
        yield replace(one.step, after={**steps[one.step.name].step.after, **late})


def _waits(domain: Domain, one: _Made, other: _Made) -> bool:
    """Whether a step waits for one that was made before it in the list: host, then record, then MX."""
    alike = _axis(one.step.kind) == _axis(other.step.kind) != "mx"
    if one.step.deletion != other.step.deletion:
        return alike and one.step.deletion
    return alike or one.parts == other.parts or _barred(one, other) or _engine_waits(domain, one, other)


def _engine_waits(domain: Domain, one: _Made, other: _Made) -> bool:
    order = domain.order
    return order is not None and all(
        order.comes_before(earlier, later) for earlier in other.parts for later in one.parts
    )


def _axis(kind: Kind) -> str:
    if kind in (Kind.POLICY, Kind.ADDRESS):
        return "host"
    return "record" if kind is Kind.TXT else "mx"


def _barred(one: _Made, other: _Made) -> bool:
    """Whether our component, which makes both, holds a step up until the other is known to senders."""
    if one.step.deletion or not all(part.ours for part in (*one.parts, *other.parts)):
        return False
    return (_axis(other.step.kind) == "host" and one.step.kind is Kind.TXT) or (
        other.step.kind is Kind.TXT and one.step.kind is Kind.MX_ADD
    )


def _barrier(world: World, one: _Made, other: _Made, record_ttl: float) -> float:
    """Return how many seconds our component waits between two steps (`pulumi_mta_sts.barriers`)."""
    if not _barred(one, other):
        return 0.0
    if one.step.kind is Kind.MX_ADD:
        return record_ttl + FETCH_SECONDS
    return world.policy_ttl + (world.address_ttl if other.step.kind is Kind.ADDRESS else 0)
