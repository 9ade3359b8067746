"""What `make up` looks at after a deploy: whether senders see what was declared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts import MtaStsError, content_id, mx_matches, select_sts_record, select_tlsrpt_record
from mta_sts.fetch import fetch_policy, tls_context
from mta_sts.sender import LookupFailedError
from sandbox.senders import WorldResolver

if TYPE_CHECKING:
    from sandbox.world.client import World


def problems(world: World, domain: str) -> list[str]:
    """Return what is wrong with a domain as seen from outside: over each address family, in DNS and over HTTPS."""
    resolver = WorldResolver(world)
    context = tls_context(Path(world.endpoints.ca_file))
    found: list[str] = []
    try:
        identifier = select_sts_record(resolver.txt(f"_mta-sts.{domain}")).id
        texts = resolver.txt(f"_smtp._tls.{domain}")
        if texts:
            select_tlsrpt_record(texts)
        hosts = [host for _, host in resolver.mx(domain)]
    except (MtaStsError, LookupFailedError) as error:
        return [str(error)]
    for address, port in world.endpoints.edge.items():
        try:
            served = fetch_policy(domain, address, port, context=context)
        except MtaStsError as error:
            found.append(str(error))
            continue
        if not identifier.startswith(content_id(served.body)):
            found.append(f"the file served at {address} is not the one that id {identifier} stands for")
        if served.policy.mode != "none":
            found += [
                f"MX host {host} matches no pattern of the policy"
                for host in hosts
                if not any(mx_matches(pattern, host) for pattern in served.policy.mx)
            ]
    return found
