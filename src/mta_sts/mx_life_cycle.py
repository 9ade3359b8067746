"""How MX hosts come and go without any sender refusing mail: what the policy must still list, which MX must stay.

A host that is no longer declared stays in the policy while it is live, and stays live while a policy may be held that
would otherwise have no MX host left (facts.md, "MX removed", "MX replaced").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mta_sts.ledger import LiveId, PolicyVersion, held_policies, known_from, last_end, unknown_until
from mta_sts.matching import mx_matches
from mta_sts.names import to_ascii
from mta_sts.policy import Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class LiveMx:
    """An MX host in DNS now, since when (seconds since the epoch), and its TTL in seconds.

    The TTL is the longest that caches may have the domain's MX records for, so the one before it was lowered counts.
    """

    host: str
    since: float
    ttl: int


@dataclass(frozen=True, slots=True)
class Needed:
    """A host, no longer declared, that must stay in DNS: why, and until when each reason holds.

    In seconds since the epoch; None is not known.
    """

    host: str
    reasons: tuple[tuple[str, float | None], ...]

    @property
    def until(self) -> float | None:
        """Until when it is needed; None where that is not known."""
        return last_end(until for _, until in self.reasons)

    @property
    def not_before(self) -> float:
        """Until when it is needed at least; 0 where nothing is known."""
        return last_end(until or 0.0 for _, until in self.reasons) or 0.0

    def __str__(self) -> str:
        return "; ".join(reason for reason, _ in self.reasons)


def retiring_hosts(declared: Iterable[str], live: Iterable[LiveMx], newest: PolicyVersion | None) -> list[str]:
    """Return the live hosts that the policy served now lists and the declaration no longer does.

    They stay in the policy while they are live: a host in DNS that the policy lacks is skipped by every sender.
    A live host that nobody ever declared is not among them (it may be an intruder's).
    """
    served = newest.policy if newest else None
    if served is None:
        return []
    patterns = list(declared)
    return sorted(mx.host for mx in live if not _covers(patterns, mx.host) and _covers(served.mx, mx.host))


def absent_patterns(declared: Iterable[str], retiring: Iterable[str], newest: PolicyVersion | None) -> list[str]:
    """Return the patterns of the policy served now that neither the declaration nor a live host keeps in it.

    They stay until no cache gives a host that they match any more: senders would skip it.
    """
    served = newest.policy if newest else None
    kept = [*declared, *retiring]
    if served is None:
        return []
    listed = {to_ascii(pattern) for pattern in served.mx}
    return sorted(pattern for pattern in listed if pattern not in kept and not _covers(kept, pattern))


def needed_hosts(
    declared: Sequence[str],
    live: Sequence[LiveMx],
    versions: Sequence[PolicyVersion],
    live_id: LiveId | None,
    now: float,
    *,
    broken: Mapping[str, str] | None = None,
) -> list[Needed]:
    """Return which live hosts that are no longer declared must stay in DNS, and why.

    One may go when every declared host has been live for its TTL, the policy that lists them has been current for the
    TTL of the record and a fetch, and no enforce policy that may be held would be left without a declared host that
    works. `broken` says of declared hosts why they don't count as working.
    """
    leaving = [mx.host for mx in live if mx.host not in declared]
    if not leaving:
        return []
    due, unknown = _settled(declared, live, versions, live_id), unknown_until(versions, live_id)
    always: list[tuple[str, float | None]] = []
    if due is None or due > now:
        reason = "the hosts that replace it are not yet live, or senders do not yet know the policy that lists them"
        always.append((reason, due))
    if unknown is None or unknown > now:
        reason = (
            "senders may hold a policy that is not known (the domain came from elsewhere, or versions were lost), and "
            "that counts as one that lists no other host until `history` states it"
        )
        always.append((reason, unknown))
    held = [one for one in held_policies(versions, live_id, now) if one.policy.mode is Mode.ENFORCE]
    needed = []
    for host in leaving:
        reasons = list(always)
        relying = [one for one in held if _covers(one.policy.mx, host)]
        left = [[other for other in declared if _covers(one.policy.mx, other)] for one in relying]
        alone = [one.until for one, others in zip(relying, left, strict=True) if not others]
        why = next((others for others in left if others and all(other in (broken or {}) for other in others)), [])
        if why:
            wrong = "; ".join((broken or {})[other] for other in why)
            reason = f"of the hosts that senders' policy lists beside it none was seen working ({wrong})"
            reasons.append((reason, None))
        if alone:
            reason = "senders may still hold an enforce policy that lists none of the declared hosts"
            reasons.append((reason, last_end(alone)))
        if reasons:
            needed.append(Needed(host, tuple(reasons)))
    return needed


def _settled(
    declared: Sequence[str], live: Sequence[LiveMx], versions: Sequence[PolicyVersion], live_id: LiveId | None
) -> float | None:
    """Return when the declared hosts can be relied on by every diligent sender; None while something is missing."""
    newest = versions[0] if versions else None
    if newest is None or newest.policy is None or live_id is None:
        return None
    by_host = {mx.host: mx for mx in live}
    if live_id.id != newest.id or not all(host in by_host and _covers(newest.policy.mx, host) for host in declared):
        return None
    return max([known_from(versions, live_id), *(by_host[host].since + by_host[host].ttl for host in declared)])


def _covers(patterns: Iterable[str], host: str) -> bool:
    return any(mx_matches(pattern, host) for pattern in patterns)
