"""Why a change is not safe, in words, and what to do instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mta_sts.cloud_resources import UnseenError
from mta_sts.findings import MtaStsError, errors
from mta_sts.ledger import FETCH_SECONDS
from mta_sts.matching import mx_matches
from mta_sts.policy import check_policy
from mta_sts.records import select_sts_record, select_tlsrpt_record
from mta_sts.review.parts import HOST, Role
from mta_sts.review.remarks import told
from mta_sts.review.words import FIRST, Act, Reason, duration, listed
from mta_sts.safety import Harm, Kind
from mta_sts.safety.model import policy_of, publications

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mta_sts.review.change import Judgeable
    from mta_sts.review.world import Domain, Side
    from mta_sts.safety import Failure


def explained(judged: Judgeable, failures: Sequence[Failure]) -> tuple[Reason, ...]:
    """Return why these harms can happen, a reason a rule; those of MX hosts share one way out."""
    known = held_before(judged)
    others = [failure for failure in failures if failure.harm is not Harm.LOCKED_IN]
    instead = tuple(_instead(judged, others, known))
    reasons: dict[str, Reason] = {}
    for failure in failures:
        one = Reason(*_harm(failure, known), instead) if failure in others else _locked_in(judged, alone=not others)
        reasons.setdefault(one.rule, one)
    return tuple(reasons.values())


def held_before(judged: Judgeable) -> set[str]:
    """Return the policies that senders may hold already."""
    return {one.body for one in publications(judged.world)}


def _harm(failure: Failure, known: set[str]) -> tuple[str, str]:
    """Return the rule and the words of a harm that comes of missing hosts, policies or records."""
    policy = policy_of(failure.body)
    allowed = listed(policy.mx) if policy else "nothing"
    held = duration(policy.max_age if policy else 0)
    hosts = listed(sorted(failure.hosts))
    if failure.harm is Harm.DOWNGRADED:
        return "removed-while-held", (
            f"The policy or its record goes while senders hold the enforce policy (for up to {held}): when it ends "
            "they deliver without any protection, and meanwhile nothing can tell them of a change."
        )
    if not failure.body:
        fails = "If a step before it fails, Pulumi deletes the old MX host all the same: then no MX host is in DNS."
        return "no-mx-left", fails if failure.run else "No MX host is in DNS, for a time at least."
    if failure.harm is Harm.SKIPPED:
        return "host-skipped", f"Senders that hold the policy for {allowed} do not use every one of {hosts}."
    if failure.body in known:
        return "mx-not-in-held-policy", (
            f"Senders may hold the policy that allows only {allowed} for up to {held}, and would find only {hosts} in "
            "DNS: they refuse to deliver there."
        )
    return "policy-without-live-mx", (
        f"Senders can be served the policy that allows only {allowed} while DNS gives them only {hosts}: they refuse "
        "to deliver there."
    )


def _instead(judged: Judgeable, failures: Sequence[Failure], known: set[str]) -> Iterator[Act]:
    """Yield how MX hosts are replaced, and how a policy is given up, so that no sender refuses or loses anything."""
    world, steps = judged.world, judged.change.steps
    added = {host for step in steps if step.kind is Kind.MX_ADD for host in step.value or ()} - world.mx
    gone = {host for step in steps if step.kind is Kind.MX_REMOVE for host in step.value or ()} & world.mx
    wanted = next((step.value for step in reversed(steps) if step.kind is Kind.POLICY), world.policy)
    held = [policy.max_age for one in failures if one.body in known and (policy := policy_of(one.body))]
    retracted = any(failure.harm is Harm.DOWNGRADED for failure in failures)
    published = retracted or not _lists(world.policy, world.mx | added) or not added | gone
    ahead = _ahead(judged) if published and failures else {}
    yield from map(Act, ahead)
    at = max(ahead.values(), default=0.0)
    followed = at + world.txt_ttl + FETCH_SECONDS  # by every sender that looks
    outlived = followed + max(held) if held else at
    if retracted:
        yield Act("Publish `mode: none` with max_age 86400 and a new id, and leave everything else as it is.", at)
        at = outlived
        yield Act("Take the policy, its record and its host away.", at)
    elif published:
        stay = ", and leave the MX records as they are" if added | gone else ""
        policy = policy_of(wanted or "")
        names = world.mx | added | set(policy.mx if policy else ())
        yield Act(f"Publish a policy that lists {listed(sorted(names))}, under a new id{stay}.", at)
        at = followed
    if added:
        beside = f" beside {listed(sorted(world.mx))}" if world.mx else ""
        yield Act(f"Add {listed(sorted(added))} to DNS{beside}.", at)
        at += world.mx_ttl
    if gone:
        at = max(at, outlived)
        yield Act(f"Take {listed(sorted(gone))} out of DNS.", at)
        if not retracted and not _lists(wanted, gone):
            forgotten = at + world.mx_ttl + FETCH_SECONDS  # by a sender that asked for MX, and only then for the policy
            yield Act(f"Take {listed(sorted(gone))} out of the policy, under a new id.", forgotten)


_NO_CACHING = "Switch the caching off (CloudFront's managed policy CachingDisabled), and change nothing else."
_MOVE = "Move the policy host, and leave the policy and its id as they are."


def _ahead(judged: Judgeable) -> dict[str, float]:
    """Return what has to be done before a policy may change, with the seconds until the old file is found no more."""
    moves = any(step.kind is Kind.ADDRESS for step in judged.change.steps)
    waits = ((_NO_CACHING, judged.world.policy_ttl), (_MOVE, judged.world.address_ttl if moves else 0.0))
    return {text: seconds for text, seconds in waits if seconds}


def _lists(body: Any, hosts: Iterable[str]) -> bool:
    policy = policy_of(body or "")
    return policy is not None and all(any(mx_matches(pattern, host) for pattern in policy.mx) for host in hosts)


def _locked_in(judged: Judgeable, *, alone: bool) -> Reason:
    """Say why a sender can hold one policy under the id of another; `alone` where nothing else is to be done."""
    world, steps = judged.world, judged.change.steps
    record = next((step for step in steps if step.kind is Kind.TXT and step.value is not None), None)
    host = [step for step in steps if step.kind in (Kind.POLICY, Kind.ADDRESS)]
    keeps = "it keeps the old policy under the new id, and has no reason to look again"
    if record is None:
        return Reason(
            "id-unchanged",
            f"The policy changes and its id ({world.txt}) does not: senders that hold the old policy never learn of "
            "the new one.",
            (Act("Give the record a new id with every change of the file, none that was used before.", FIRST),),
        )
    if any(step.name not in record.after for step in host):
        return Reason(
            "id-before-policy",
            f"Nothing makes the record wait for the policy file. A sender that sees the new id first is served the "
            f"old file: {keeps}.",
            (Act("Make the record depend on the policy file (`depends_on`), and on what serves it.", FIRST),),
        )
    then = (Act("Change the policy.", max(_ahead(judged).values(), default=0.0)),) if alone else ()
    if world.policy_ttl:
        return Reason(
            "edge-caches-policy",
            f"CloudFront's caches go on with the old file for up to {duration(world.policy_ttl)}. A sender that sees "
            f"the new id meanwhile is served the old file: {keeps}.",
            (Act(_NO_CACHING), *then),
        )
    return Reason(
        "old-host-still-found",
        f"Resolvers lead senders to the old policy host for up to {duration(world.address_ttl)}. A sender that sees "
        f"the new id meanwhile is served the old file: {keeps}.",
        (Act(_MOVE), *then),
    )


def invalid(domain: Domain, after_: Side) -> Iterator[Reason]:
    """Yield what would be published newly and can't be used."""
    faults = dict.fromkeys(
        fault
        for part in domain.of(*HOST)
        if part.changes
        for fault in _faults(part.new)
        if fault not in _faults(part.old)
    )
    if faults:
        yield Reason(
            "policy-host-broken",
            f"Senders can't use the policy any more: {'; '.join(faults)}.",
            (Act("Leave that out; `mta-sts check` shows what senders need of a policy host.", FIRST),),
        )
    for key, parts in domain.twins.items():
        gone = next(part for part in domain.parts if (part.place, part.role) == key)
        names = listed(part.step.urn.rpartition("::")[2] for part in parts)
        yield Reason(
            "renamed-without-alias",
            f"{gone.step.urn.rpartition('::')[2]} and {names} are one {gone.role} in the cloud: deleting it at the end "
            f"takes away what {names} has just written.",
            (Act("Give the new resource an alias (`aliases` among its options), so that it is only renamed.", FIRST),),
        )
    if any(part.changes for part in domain.of(Role.OBJECT)):
        file = told(lambda: after_.file)
        found = errors(check_policy(file.body)) if file else []
        if found:
            text = f"The policy file is not valid: {'; '.join(one.message for one in found)}."
            mend = Act("Mend the policy; `mta-sts lint` shows everything that is wrong.", FIRST)
            yield Reason("policy-invalid", text, (mend,))
    for role, rule, read, select in (
        (Role.RECORD, "sts-record-invalid", lambda: after_.texts, select_sts_record),
        (Role.REPORTS, "tlsrpt-record-invalid", lambda: after_.reports, select_tlsrpt_record),
    ):
        texts = told(read)
        if texts and any(part.changes for part in domain.of(role)):
            try:
                select(texts)
            except MtaStsError as error:
                said = "; ".join(one.message for one in error.findings)
                one = Act("Publish exactly one valid record.", FIRST)
                yield Reason(rule, f"The {role} is not valid: {said}.", (one,))


def _faults(value: Any) -> tuple[str, ...]:
    """Return why senders can't use a part of a policy host; of what can't be seen nothing is said."""
    return () if value is None or isinstance(value, UnseenError) else value.faults
