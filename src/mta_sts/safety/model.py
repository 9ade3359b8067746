"""What a proof is about: the world as senders may see it now, and the steps of a change.

Times are seconds; 0 is now, what has been is negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from mta_sts.matching import mx_matches
from mta_sts.policy import Mode, Policy, parse_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

FETCH_LIMIT = 60
"""Seconds from the first look-up of a delivery to its end (RFC 8461 §3.3 suggests a minute for the fetch)."""
NEGATIVE_TTL = 1800
"""Seconds that "there is none" is cached where the zone does not say: Cloudflare's."""


class Kind(StrEnum):
    """What a step changes, or an earlier value was a value of."""

    POLICY = "policy"  # the served body, or None where none is served
    TXT = "txt"  # the id in the `_mta-sts` record, or None where there is no usable record
    MX = "mx"  # the whole RRset, as a set of hosts
    MX_ADD = "mx-add"  # one host more
    MX_REMOVE = "mx-remove"  # one host less
    ADDRESS = "address"  # the policy host's address: the old host goes on serving the bytes that it had


Value = str | frozenset[str] | None
"""A body or an id, the hosts of an MX RRset, or "there is none"."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A body that was published, under the id that `_mta-sts` showed for it.

    `visible_until` is when that id was last seen in DNS (or the body served, if that is later: some never look at the
    id), infinite where it still stands there or where nobody knows; `ttl` is the TTL it had.
    """

    body: str
    id: str
    visible_until: float = math.inf
    ttl: float = 0


@dataclass(frozen=True, slots=True)
class Earlier:
    """A value (policy, txt or mx) that was replaced before now and that caches may go on giving until `until`."""

    kind: Kind
    value: Value
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One domain as it stands now, and what senders may still hold of its past.

    `ledger` lists publications, oldest first. Each TTL is the longest time that a cache goes on giving the present
    value after it was replaced; `policy_ttl` is the edge's, `address_ttl` that of the policy host's address records.
    `broken` are the MX hosts that fail STARTTLS or its certificate.
    """

    mx: frozenset[str]
    mx_ttl: float
    txt: str | None
    txt_ttl: float
    policy: str | None
    policy_ttl: float = 0
    address_ttl: float = 0
    broken: frozenset[str] = frozenset()
    ledger: tuple[Publication, ...] = ()
    earlier: tuple[Earlier, ...] = ()
    fetch_limit: float = FETCH_LIMIT


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a change.

    It begins after each step named in `after` is done, and no less than that many seconds later. `ttl` is the TTL of
    the new value; None keeps the present one. A deletion also runs where steps before it have failed.
    """

    name: str
    kind: Kind
    value: Value = None
    after: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    ttl: float | None = None
    deletion: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """The steps of one update, in any order that `after` allows.

    `roll_back` are the steps that run when it is rolled back after an interruption; None stands for what the
    component does: the old body (with patterns for live hosts that it lacks), a fresh id, then removed MX hosts again;
    nothing is deleted.
    """

    steps: tuple[Step, ...]
    roll_back: tuple[Step, ...] | None = None


@lru_cache(maxsize=4096)
def policy_of(body: str) -> Policy | None:
    """Return what a body states; None where a sender must not use it."""
    try:
        return parse_policy(body)
    except ValueError:
        return None


def served(body: Value) -> str | None:
    """Return what a fetch of this body yields: None where none is served, or none that a sender may use."""
    return body if isinstance(body, str) and policy_of(body) else None


def enforces(body: str | None) -> bool:
    """Whether a sender that holds this body refuses MX hosts."""
    policy = None if body is None else policy_of(body)
    return policy is not None and policy.mode is Mode.ENFORCE


@lru_cache(maxsize=65536)
def allowed(body: str, hosts: frozenset[str]) -> frozenset[str]:
    """Return the hosts that a pattern of this body matches (RFC 8461 §4.1)."""
    policy = policy_of(body)
    patterns = policy.mx if policy else ()
    return frozenset(host for host in hosts if any(mx_matches(pattern, host) for pattern in patterns))


def max_age(body: str) -> int:
    """Return how long a body may be kept, in seconds."""
    policy = policy_of(body)
    return policy.max_age if policy else 0


def publications(world: World) -> tuple[Publication, ...]:
    """Return the ledger with what is published now at its end."""
    if world.policy is None or world.txt is None:
        return world.ledger
    if world.ledger and (world.ledger[-1].body, world.ledger[-1].id) == (world.policy, world.txt):
        return world.ledger
    return (*world.ledger, Publication(world.policy, world.txt, math.inf, world.txt_ttl))
