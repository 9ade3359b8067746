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
from pulumi_mta_sts.live import once_a_run
from pulumi_mta_sts.outside import outside

_FETCH_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Serving:
    """What the policy host of a domain serves now, wherever it is: policies, and why an address gave none."""

    policies: Sequence[Policy] = ()
    problems: Sequence[str] = ()


def served_now(configs: Sequence[DomainConfig]) -> dict[str, Serving]:
    """Return what is served now for domains that are to enforce because their `history` does, looked at once a run.

    `configs` are those of which the bucket knows nothing yet.
    """
    claiming = [config.domain for config in configs if config.mode is Mode.ENFORCE and _enforces(config)]
    known: dict[str, Serving] = once_a_run(("served-before",), dict)
    missing = [domain for domain in claiming if domain not in known]

    async def gather() -> list[Serving]:
        return await asyncio.gather(*map(_look, missing))

    if missing:
        known.update(zip(missing, _sync_await(gather()), strict=True))
    return {domain: known[domain] for domain in claiming}


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
        "senders may hold policies from before the domain came here, and `history` says nothing of them, so what they "
        f"need can't be kept up; run `mta-sts adopt {domain}` and put in what it prints"
    )
    return Finding("history-missing", "history", message, Severity.WARNING)


def _enforces(config: DomainConfig) -> bool:
    newest = next(iter(config.history), None)
    return newest is not None and newest.policy is not None and newest.policy.mode is Mode.ENFORCE


def meaning(policy: Policy | None) -> object:
    """Return what a policy says to senders, whatever the order of its lines."""
    return policy and (policy.mode, frozenset(policy.mx), policy.max_age)


async def _look(domain: str) -> Serving:
    import dns.exception  # noqa: PLC0415  heavy, and few domains are adopted in enforce

    try:
        addresses = await outside().addresses(f"mta-sts.{domain}")
    except dns.exception.DNSException as error:
        return Serving(problems=[" ".join(str(error).split())])
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
