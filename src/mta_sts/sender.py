"""A sender as RFC 8461 describes it, and as real ones differ: what it holds, when it looks, where it delivers.

Time, DNS, HTTPS and SMTP are passed in, so that the same sender delivers in a sandbox and in a simulation.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Protocol

from mta_sts.findings import MtaStsError
from mta_sts.matching import mx_matches
from mta_sts.policy import Mode, Policy, parse_policy
from mta_sts.records import select_sts_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class LookupFailedError(Exception):
    """DNS gave no answer (SERVFAIL, time-out): neither "there is none" nor a value."""


class Resolver(Protocol):
    """What a sender asks DNS."""

    def mx(self, domain: str) -> list[tuple[int, str]]:
        """Return (preference, host) of each MX record, none where there is none; raises LookupFailedError."""

    def txt(self, name: str) -> list[str]:
        """Return the TXT values at a name, none where there are none; raises LookupFailedError."""


class Looks(StrEnum):
    """When a sender that holds a policy looks at the `_mta-sts` record again."""

    EACH_DELIVERY = "each delivery"
    AT_EXPIRY = "at expiry"
    NEVER = "never"  # it fetches again every `refetch_after` seconds, whatever the id


class Unchanged(StrEnum):
    """What an unchanged id does to a held policy."""

    NOTHING = "nothing"
    RENEWS = "renews"  # its lifetime starts again, without a fetch
    REVIVES = "revives"  # the same, even after it has expired


LONGEST_CAP = 30 * 86_400
"""Seconds: where a sender caps max_age, it is here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Temperament:
    """How one kind of sender behaves; the default is the diligent sender of RFC 8461. Times in seconds."""

    looks: Looks = Looks.EACH_DELIVERY
    unchanged: Unchanged = Unchanged.NOTHING
    mx_first: bool = True
    retry_after: int = 300
    """After a failed fetch, an id is not tried again for so long (RFC 8461 §3.3)."""
    refetch_after: int = 600
    cap: int | None = None
    """The longest it keeps a policy, whatever its max_age."""
    absence_kept: int = 0
    """How long it takes "no record" for granted."""
    asks_before_refusing: bool = True
    """Whether it looks at the id afresh before mail fails (RFC 8461 §5.1); senders exist that don't."""


def temperaments() -> Iterator[Temperament]:
    """Yield every combination of habits that decides what a sender holds and when."""
    habits = product(Looks, Unchanged, (True, False), (None, LONGEST_CAP), (0, 1800), (True, False))
    for looks, unchanged, mx_first, cap, absence_kept, asks in habits:
        yield Temperament(
            looks=looks,
            unchanged=unchanged,
            mx_first=mx_first,
            cap=cap,
            absence_kept=absence_kept,
            asks_before_refusing=asks,
        )


class Outcome(StrEnum):
    """What became of a mail."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # it waits, and bounces in the end: no MX host may be used
    DEFERRED = "deferred"  # it waits: DNS did not say where to
    NO_MX = "no MX"


@dataclass(frozen=True, slots=True)
class Held:
    """A policy in a sender's cache; times in seconds of its clock."""

    id: str
    body: str
    expires: float
    fetched: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mail: what became of it and why, under which policy.

    `skipped` are the MX hosts that the held policy keeps from use: no pattern matches, or TLS was tried and failed.
    """

    outcome: Outcome
    host: str = ""
    skipped: tuple[str, ...] = ()
    mode: str = "none"
    policy_id: str = ""
    body: str = ""
    reason: str = ""


class Sender:
    """Delivers mail to domains, and remembers their policies."""

    def __init__(
        self,
        temperament: Temperament | None = None,
        *,
        clock: Callable[[], float],
        resolver: Resolver,
        fetch: Callable[[str], bytes],
        deliverable: Callable[[str], bool],
    ) -> None:
        """`fetch` returns the served body of a domain or raises; `deliverable` tells whether an MX host passes TLS."""
        self.temperament = temperament or Temperament()
        self._clock = clock
        self._resolver = resolver
        self._fetch = fetch
        self._deliverable = deliverable
        self.held: dict[str, Held] = {}
        self._failed: dict[tuple[str, str], float] = {}
        self._absent: dict[str, float] = {}

    def deliver(self, domain: str) -> Delivery:
        """Deliver one mail (RFC 8461 §5)."""
        try:
            if self.temperament.mx_first:
                hosts = self._hosts(domain)
                held, why = self._policy_of(domain)
            else:
                held, why = self._policy_of(domain)
                hosts = self._hosts(domain)
        except LookupFailedError as error:
            return Delivery(Outcome.DEFERRED, reason=f"the MX look-up failed: {error}")
        if not hosts:
            # Assumption: the domains at hand have MX records; the implicit MX of RFC 5321 §5.1 is left out.
            return Delivery(Outcome.NO_MX, reason="the domain has no MX record")
        delivery = self._try(hosts, held, why)
        if delivery.outcome is Outcome.REFUSED and self.temperament.asks_before_refusing:
            # RFC 8461 §5.1: never fail for good before a fresh look at the id.
            self._absent.pop(domain, None)
            fresh, why = self._look(domain)
            if fresh != held:
                return self._try(hosts, fresh, why)
        return delivery

    def _hosts(self, domain: str) -> list[str]:
        return [host for _, host in sorted(self._resolver.mx(domain))]

    def _try(self, hosts: list[str], held: Held | None, why: str) -> Delivery:
        policy = None if held is None else _parsed(held.body)
        if held is None or policy is None:
            return Delivery(Outcome.DELIVERED, hosts[0], reason=why)
        if policy.mode is not Mode.ENFORCE:
            # Testing and none: deliver as without a policy (RFC 8461 §5).
            return Delivery(Outcome.DELIVERED, hosts[0], (), policy.mode, held.id, held.body, why)
        chosen = ""
        skipped: list[str] = []
        for host in hosts:
            if not _allows(held.body, host):  # RFC 8461 §4.1
                skipped.append(host)
            elif not chosen:
                if self._deliverable(host):  # RFC 8461 §4.2
                    chosen = host
                else:
                    skipped.append(host)
        outcome = Outcome.DELIVERED if chosen else Outcome.REFUSED
        return Delivery(outcome, chosen, tuple(skipped), policy.mode, held.id, held.body, why)

    def _policy_of(self, domain: str) -> tuple[Held | None, str]:
        """Return the policy that applies now, and why this one; looks and fetches as the temperament has it."""
        held = self._unexpired(domain)
        looks = self.temperament.looks
        if held is not None and looks is Looks.AT_EXPIRY:
            return held, "held, and not looked at before it expires"
        if held is not None and looks is Looks.NEVER:
            due = self._clock() >= held.fetched + self.temperament.refetch_after
            return self._fetched(domain, held.id) if due else (held, "held, and not yet due to be fetched again")
        return self._look(domain)

    def _look(self, domain: str) -> tuple[Held | None, str]:
        """Look at the record, and fetch where its id is not the one held (RFC 8461 §3.3)."""
        held = self._unexpired(domain)
        if self._clock() < self._absent.get(domain, -math.inf):
            return held, "the record was absent a short while ago"
        try:
            texts = self._resolver.txt(f"_mta-sts.{domain}")
        except LookupFailedError as error:
            return held, f"the TXT look-up failed: {error}"
        try:
            identifier = _selected(tuple(texts))
        except MtaStsError:
            # A record that is gone does not end a held policy (RFC 8461 §3.3).
            self._absent[domain] = self._clock() + self.temperament.absence_kept
            return held, "there is no usable record"
        known = self.held.get(domain)
        if known is not None and known.id == identifier:
            if held is None and self.temperament.unchanged is not Unchanged.REVIVES:
                return self._fetched(domain, identifier)
            if self.temperament.unchanged is not Unchanged.NOTHING:
                known = self._keep(domain, identifier, known.body, known.fetched)
            return known, "the id is unchanged"
        return self._fetched(domain, identifier)

    def _fetched(self, domain: str, identifier: str) -> tuple[Held | None, str]:
        """Fetch the policy; where that fails, go on with what is held (RFC 8461 §3.3)."""
        if self._clock() < self._failed.get((domain, identifier), -math.inf):
            return self._unexpired(domain), "the fetch failed a short while ago"
        try:
            body = self._fetch(domain).decode()
            _parsed(body)
        except (MtaStsError, OSError, ValueError) as error:
            self._failed[domain, identifier] = self._clock() + self.temperament.retry_after
            return self._unexpired(domain), f"the fetch failed: {error}"
        return self._keep(domain, identifier, body, self._clock()), "fetched"

    def _keep(self, domain: str, identifier: str, body: str, fetched: float) -> Held:
        max_age = _parsed(body).max_age
        lifetime = max_age if self.temperament.cap is None else min(max_age, self.temperament.cap)
        held = Held(identifier, body, self._clock() + lifetime, fetched)
        if lifetime:  # max_age 0 holds for this delivery alone
            self.held[domain] = held
        else:
            self.held.pop(domain, None)
        return held

    def _unexpired(self, domain: str) -> Held | None:
        held = self.held.get(domain)
        return held if held is not None and held.expires > self._clock() else None

    def export(self) -> dict[str, Any]:
        """Return all that it remembers as plain data."""
        return {
            "held": {domain: asdict(held) for domain, held in self.held.items()},
            "failed": [[domain, identifier, until] for (domain, identifier), until in self._failed.items()],
            "absent": dict(self._absent),
        }

    def restore(self, cache: Mapping[str, Any]) -> None:
        """Take over what `export` gave."""
        self.held = {domain: Held(**held) for domain, held in cache.get("held", {}).items()}
        self._failed = {(domain, identifier): until for domain, identifier, until in cache.get("failed", [])}
        self._absent = dict(cache.get("absent", {}))


# A simulation asks these of few values, a million times.


@lru_cache(maxsize=1024)
def _parsed(body: str) -> Policy:
    return parse_policy(body)


@lru_cache(maxsize=1024)
def _selected(texts: tuple[str, ...]) -> str:
    return select_sts_record(texts).id


@lru_cache(maxsize=4096)
def _allows(body: str, host: str) -> bool:
    return any(mx_matches(pattern, host) for pattern in _parsed(body).mx)
