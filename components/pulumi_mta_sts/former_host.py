"""The host that a domain comes from: what the configuration states of it, and what is seen of it now."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

# Pulumi's own synchronous invokes stand on this; see `live`.
from pulumi.runtime.sync_await import _sync_await

from mta_sts import Finding, Mode, MtaStsError, Policy, Severity
from mta_sts.domain_config import DomainConfig
from mta_sts.fetch import fetch_policy_async, tls_context
from mta_sts.ledger import ID_METADATA, LiveId
from pulumi_mta_sts import dns
from pulumi_mta_sts.live import once_a_run
from pulumi_mta_sts.outside import outside
from pulumi_mta_sts.stack_state import distribution_with

_FETCH_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Serving:
    """What the policy host of a domain serves now, wherever it is: policies, and why an address gave none."""

    policies: Sequence[Policy] = ()
    problems: Sequence[str] = ()
    unknown: bool = False
    """Whether nobody could tell us where it is: others may reach it."""


def served_now(configs: Sequence[DomainConfig]) -> dict[str, Serving]:
    """Return what is served now for domains that are to enforce because their `history` does, looked at once a run.

    `configs` are those of which the bucket knows nothing yet.
    """
    return _look_at([config.domain for config in configs if config.mode is Mode.ENFORCE and _enforces(config)])


def _look_at(domains: Sequence[str]) -> dict[str, Serving]:
    known: dict[str, Serving] = once_a_run(("served-before",), dict)
    missing = [domain for domain in domains if domain not in known]

    async def gather() -> list[Serving]:
        return await asyncio.gather(*map(_look, missing))

    if missing:
        known.update(zip(missing, _sync_await(gather()), strict=True))
    return {domain: known[domain] for domain in domains}


@dataclass(frozen=True, slots=True)
class Move:
    """A policy host's name that is to lead elsewhere: its record as it is, the new target, the policy to be served.

    The target is empty where that host is yet to be made.
    """

    domain: str
    record: dns.LiveRecord
    target: str
    policy: Policy
    braking: bool
    """Whether the change may be the brake, as far as the ledger tells."""


def move_findings(moves: Sequence[Move]) -> dict[str, Finding]:
    """Return by domain what is to be said of the moves: an error where senders would meet two policies in one update.

    Until caches forget the old address, some fetch there, whatever the id says. Where the same policy is served, or
    nothing, that does no harm; there, and for the brake, `barriers.edge_serves` waits out the old address.
    """
    served = _look_at([move.domain for move in moves])
    return {move.domain: _move_finding(move, served[move.domain]) for move in moves}


def _move_finding(move: Move, serving: Serving) -> Finding:
    host, ttl = f"mta-sts.{move.domain}", dns.effective_ttl(move.record.ttl)
    moving = (
        f"{host} leads to {move.record.content} and moves to {move.target or 'a policy host that is yet to be made'}"
    )
    if serving.unknown and not move.braking:
        message = f"{moving}, and what it serves now can't be told ({'; '.join(serving.problems)}): run it again"
        return Finding("policy-host-unread", "host", message)
    others = [policy for policy in serving.policies if meaning(policy) != meaning(move.policy)]
    if not others or (move.braking and others[0].mode is Mode.ENFORCE):
        message = f"{moving}; keep the former host until {ttl} s after that, some senders are led there until then"
        return Finding("policy-host-moves", "host", message, Severity.WARNING)
    now = others[0]
    on = distribution_with(host, move.target)
    steps = [f"declare what is served now (mode {now.mode}, mx {', '.join(now.mx) or 'none'}, max_age {now.max_age})"]
    if on or move.record.content.endswith(".cloudfront.net"):
        name = f"this stack's {on}" if on else f"the distribution {move.record.content}"
        steps.append(
            f"take the alias {host} off {name}, at CloudFront: an alias can be on one distribution only (until the "
            "next step is done nobody can fetch the policy; senders go on with the one that they hold)"
        )
    steps += [
        "update: the new host serves the same policy, and the name moves",
        f"{ttl} s later publish the new policy, and only then take the former host away",
    ]
    message = (
        f"{moving}, where the policy is to be another: senders would meet both in one update. Nothing was changed; in "
        f"steps: {'; '.join(f'({number}) {step}' for number, step in enumerate(steps, 1))}"
    )
    return Finding("policy-host-moves", "host", message)


def not_live(config: DomainConfig, live_id: LiveId | None, serving: Serving) -> list[Finding]:
    """Return why the stated `history` is not believed: neither id nor policy may differ from what senders get now."""
    shown = live_id.id if live_id else None
    stated = {meaning(version.policy) for version in config.history if version.metadata[ID_METADATA] == shown}
    served = {meaning(policy) for policy in serving.policies}
    if served and served <= stated:
        return []
    if not served:
        seen = f"no policy was served at mta-sts.{config.domain} ({'; '.join(serving.problems) or 'no address'})"
    elif not stated:
        seen = f"_mta-sts shows the id {shown}, of which `history` says nothing"
    else:
        seen = f"another policy is served under the id {shown}"
    message = (
        f"`history` says that senders hold an enforce policy already, but {seen}: run `mta-sts adopt {config.domain}` "
        "again and put in what it prints"
    )
    return [Finding("history-not-live", "history", message, Severity.WARNING)]


def history_missing(domain: str) -> Finding:
    """Return the warning about a domain whose time before is not stated."""
    message = (
        "senders may hold policies from before the domain came here, and `history` says nothing of them: for a year "
        "they count as enforce policies that list no other MX host, so none can leave, and the records stay protected; "
        f"run `mta-sts adopt {domain}` and put in what it prints, or one entry with `mode: none` if there was none"
    )
    return Finding("history-missing", "history", message, Severity.WARNING)


def _enforces(config: DomainConfig) -> bool:
    newest = next(iter(config.history), None)
    return newest is not None and newest.policy is not None and newest.policy.mode is Mode.ENFORCE


def meaning(policy: Policy | None) -> object:
    """Return what a policy says to senders, whatever the order of its lines."""
    return policy and (policy.mode, frozenset(policy.mx), policy.max_age)


async def _look(domain: str) -> Serving:
    import dns.exception as of_dns  # noqa: PLC0415  heavy, and few domains are adopted in enforce or moved

    try:
        addresses = await outside().addresses(f"mta-sts.{domain}")
    except of_dns.DNSException as error:
        return Serving(problems=[" ".join(str(error).split())], unknown=True)
    context = tls_context(outside().ca_file)
    answers = await asyncio.gather(
        *(
            fetch_policy_async(domain, address, port, context=context, limit=_FETCH_LIMIT)
            for address, port in addresses
        ),
        return_exceptions=True,
    )
    problems = [error.findings[0].message for error in answers if isinstance(error, MtaStsError)]
    return Serving([one.policy for one in answers if not isinstance(one, BaseException)], problems)
