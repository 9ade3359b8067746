"""A sender as RFC 8461 describes it, and as real ones differ: what it holds, when it looks, where it delivers.

Time, DNS, HTTPS and SMTP are passed in, so that the same sender delivers in a sandbox and in a simulation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from mta_sts.findings import MtaStsError
from mta_sts.matching import mx_matches
from mta_sts.policy import Mode, Policy, parse_policy
from mta_sts.records import select_sts_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


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
    """The longest it keeps a policy, whatever its max_age; 30 days is usual where there is one."""
    absence_kept: int = 0
    """How long it takes "no record" for granted."""


class Outcome(StrEnum):
    """What became of a mail."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # it waits, and bounces in the end: no MX host may be used
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
    """One mail: what became of it, under which policy, past which MX hosts."""

    outcome: Outcome
    host: str = ""
    skipped: tuple[str, ...] = ()
    mode: str = "none"
    policy_id: str = ""
    body: str = ""


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
        if self.temperament.mx_first:
            hosts = self._hosts(domain)
            held = self._policy_of(domain)
        else:
            held = self._policy_of(domain)
            hosts = self._hosts(domain)
        if not hosts:
            return Delivery(Outcome.NO_MX)
        delivery = self._try(hosts, held)
        if delivery.outcome is Outcome.REFUSED:
            # RFC 8461 §5.1: never fail for good before a fresh look at the id.
            fresh = self._look(domain)
            if fresh != held:
                delivery = self._try(hosts, fresh)
        return delivery

    def _hosts(self, domain: str) -> list[str]:
        try:
            return [host for _, host in sorted(self._resolver.mx(domain))]
        except LookupFailedError:
            return []

    def _try(self, hosts: list[str], held: Held | None) -> Delivery:
        policy = _usable(held)
        if policy is None or policy.mode is not Mode.ENFORCE:
            # Testing and none: deliver as without a policy (RFC 8461 §5).
            mode = "none" if policy is None else policy.mode
            return Delivery(Outcome.DELIVERED, hosts[0], (), mode, held.id if held else "", held.body if held else "")
        skipped: list[str] = []
        for host in hosts:
            if any(mx_matches(pattern, host) for pattern in policy.mx) and self._deliverable(host):
                return Delivery(Outcome.DELIVERED, host, tuple(skipped), policy.mode, held.id, held.body)  # type: ignore[union-attr]
            skipped.append(host)
        return Delivery(Outcome.REFUSED, "", tuple(skipped), policy.mode, held.id, held.body)  # type: ignore[union-attr]

    def _policy_of(self, domain: str) -> Held | None:
        """Return the policy that applies now; looks and fetches as the temperament has it."""
        held = self._unexpired(domain)
        looks = self.temperament.looks
        if held is not None and looks is Looks.AT_EXPIRY:
            return held
        if held is not None and looks is Looks.NEVER:
            due = self._clock() >= held.fetched + self.temperament.refetch_after
            return self._fetched(domain, held.id) if due else held
        return self._look(domain)

    def _look(self, domain: str) -> Held | None:
        """Look at the record, and fetch where its id is not the one held (RFC 8461 §3.3)."""
        held = self._unexpired(domain)
        if self._absent.get(domain, 0) > self._clock():
            return held
        try:
            texts = self._resolver.txt(f"_mta-sts.{domain}")
        except LookupFailedError:
            return held
        try:
            identifier = select_sts_record(texts).id
        except MtaStsError:
            # A record that is gone does not end a held policy (RFC 8461 §3.3).
            self._absent[domain] = self._clock() + self.temperament.absence_kept
            return held
        known = self.held.get(domain)
        if known is not None and known.id == identifier:
            if held is None and self.temperament.unchanged is not Unchanged.REVIVES:
                return self._fetched(domain, identifier)
            if self.temperament.unchanged is not Unchanged.NOTHING:
                known = self._keep(domain, identifier, known.body, known.fetched)
            return known
        return self._fetched(domain, identifier)

    def _fetched(self, domain: str, identifier: str) -> Held | None:
        """Fetch the policy; where that fails, go on with what is held (RFC 8461 §3.3)."""
        if self._failed.get((domain, identifier), 0) > self._clock():
            return self._unexpired(domain)
        try:
            body = self._fetch(domain)
            parse_policy(body)
        except (MtaStsError, OSError, ValueError):
            self._failed[domain, identifier] = self._clock() + self.temperament.retry_after
            return self._unexpired(domain)
        return self._keep(domain, identifier, body.decode(), self._clock())

    def _keep(self, domain: str, identifier: str, body: str, fetched: float) -> Held:
        max_age = parse_policy(body).max_age
        lifetime = max_age if self.temperament.cap is None else min(max_age, self.temperament.cap)
        held = self.held[domain] = Held(identifier, body, self._clock() + lifetime, fetched)
        return held

    def _unexpired(self, domain: str) -> Held | None:
        held = self.held.get(domain)
        return held if held is not None and held.expires > self._clock() else None

    def export(self) -> dict[str, Any]:
        """Return the cache as plain data."""
        return {domain: asdict(held) for domain, held in self.held.items()}

    def restore(self, cache: Mapping[str, Any]) -> None:
        """Take over a cache that `export` gave."""
        self.held = {domain: Held(**held) for domain, held in cache.items()}


def _usable(held: Held | None) -> Policy | None:
    return None if held is None else parse_policy(held.body)
