"""What is published of a domain now, and what the bucket of its policies remembers: the `--live` of a review."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from mta_sts.checks.lookup import Dns
from mta_sts.checks.observe import mx_hosts
from mta_sts.fetch import fetch_policy_async
from mta_sts.findings import MtaStsError
from mta_sts.ledger import ID_METADATA, LiveId, held_policies, read_versions, s3_client
from mta_sts.records import select_sts_record
from mta_sts.review.parts import Role
from mta_sts.safety import Publication
from mta_sts.safety.model import FETCH_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mta_sts.checks.lookup import Looked
    from mta_sts.ledger import PolicyVersion
    from mta_sts.network_options import Network
    from mta_sts.review.world import Domain

_FETCH_LIMIT = 20.0
_HTTPS_PORT = 443
_AT_ONCE = 32


@dataclass(slots=True)
class Live:
    """A domain as it is published now. None is what could not be looked at; `problems` says why."""

    mx: frozenset[str] | None = None
    mx_ttl: int = 0
    texts: tuple[str, ...] | None = None
    txt_ttl: int = 0
    served: bool = False
    """Whether the policy host could be asked: then a body of None means that it serves none."""
    body: str | None = None
    ledger: tuple[Publication, ...] | None = None
    """What senders may hold from before, oldest first; times in seconds from now."""
    problems: list[str] = field(default_factory=list)

    @property
    def id(self) -> str | None:
        """The id that senders see now, None where there is no usable record."""
        try:
            return select_sts_record(self.texts or ()).id
        except MtaStsError:
            return None


def look_at(
    domains: Sequence[Domain], network: Network, now: datetime, progress: Callable[[str], None] = lambda _: None
) -> dict[str, Live]:
    """Return what is published of each domain; raises ValueError where this machine has no resolver."""
    found = asyncio.run(_look_at_all(domains, network, progress))
    if any(_place(domain) for domain in domains):
        _read_buckets(domains, found, now.timestamp())
    return found


async def _look_at_all(domains: Sequence[Domain], network: Network, progress: Callable[[str], None]) -> dict[str, Live]:
    names = Dns(network)
    context = network.tls_context()
    found: dict[str, Live] = {}
    waiting = iter(domains)

    async def work() -> None:
        for domain in waiting:
            found[domain.name] = await _look(domain.name, names, network, context)
            progress(f"{len(found):,} of {len(domains):,} domains looked at")

    await asyncio.gather(*(work() for _ in range(min(_AT_ONCE, len(domains)))))
    return found


async def _look(domain: str, names: Dns, network: Network, context: Any) -> Live:
    live = Live()
    mx, txt, host = await asyncio.gather(
        names.look(domain, "MX"), names.look(f"_mta-sts.{domain}", "TXT"), names.addresses(f"mta-sts.{domain}")
    )
    for looked in (mx, txt, host):
        if looked.failure:
            live.problems.append(f"{looked.name} {looked.kind} can't be looked up now ({looked.failure})")
    if not mx.failure:
        live.mx, live.mx_ttl = frozenset(mx_hosts(mx)), mx.ttl
    if not txt.failure:
        live.texts, live.txt_ttl = txt.values, txt.ttl
    if not host.failure:
        await _fetch(domain, host, live, network, context)
    return live


async def _fetch(domain: str, host: Looked, live: Live, network: Network, context: Any) -> None:
    """Note what the policy host serves, from the first address that does."""
    live.served = not host.values
    for address in host.values:
        port = network.port(f"mta-sts.{domain}", address, _HTTPS_PORT)
        try:
            fetched = await fetch_policy_async(domain, address, port, context=context, limit=_FETCH_LIMIT)
        except MtaStsError as error:
            live.problems.append(error.findings[0].message)
        else:
            live.served, live.body = True, fetched.body.decode()
            return


def _read_buckets(domains: Sequence[Domain], found: dict[str, Live], now: float) -> None:
    """Note what senders may hold from before, as the domains' buckets remember it for whoever reviews."""
    try:
        s3 = s3_client()
    except MtaStsError as error:
        for live in found.values():
            live.problems.append(error.findings[0].message)
        return

    def read(domain: Domain) -> None:
        live, place = found[domain.name], _place(domain)
        if place is None:
            return
        try:
            live.ledger = tuple(_publications(domain, live, read_versions(s3, place[0], domain.name, place[1]), now))
        except MtaStsError as error:
            live.problems.append(error.findings[0].message)

    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(read, domains))


def _place(domain: Domain) -> tuple[str, str] | None:
    """Return bucket and key of the policy that stands now."""
    for part in domain.of(Role.OBJECT):
        state = part.step.old
        if state is not None:
            bucket, key = state.props.get("bucket"), state.props.get("key")
            if isinstance(bucket, str) and isinstance(key, str):
                return bucket, key
    return None


def _publications(domain: Domain, live: Live, versions: Sequence[PolicyVersion], now: float) -> list[Publication]:
    """Return what a bucket remembers in the form of a proof, oldest first."""
    if not any(version.metadata.get(ID_METADATA) for version in versions):
        return _of_others(live, versions, now)
    shown = LiveId(live.id, _since(domain, live.id, now), live.txt_ttl) if live.id else None
    bodies = {(version.metadata.get(ID_METADATA, ""), version.policy): version.body for version in versions}
    found = []
    for held in reversed(held_policies(versions, shown, now)):
        body = bodies.get((held.id, held.policy))
        if body is not None:
            end = float("inf") if held.until is None else held.until - now - held.policy.max_age - FETCH_LIMIT
            found.append(Publication(body, held.id, end))
    return found


def _of_others(live: Live, versions: Sequence[PolicyVersion], now: float) -> list[Publication]:
    """Return versions that nobody noted an id with: it is taken to have changed when the file did."""
    found: list[Publication] = []
    for newer, older in pairwise(versions):
        policy = older.policy
        gone = newer.written - now
        if older.body is not None and policy is not None and gone + live.txt_ttl + FETCH_LIMIT + policy.max_age > 0:
            found.append(Publication(older.body, f"before{len(found)}", gone, live.txt_ttl))
    return found[::-1]


def _since(domain: Domain, identifier: str, now: float) -> float:
    """Return since when an id stands, in seconds since the epoch; what the provider does not say counts as now."""
    for part in domain.of(Role.RECORD):
        state = part.step.old
        if state is not None and identifier in str(state.outputs.get("content")):
            try:
                return datetime.fromisoformat(str(state.outputs.get("modifiedOn"))).timestamp()
            except ValueError:
                continue
    return now
