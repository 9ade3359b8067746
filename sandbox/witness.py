"""An independent sender: the PyPI package `postfix-mta-sts-resolver`, unpatched, asked about the sandbox's domains.

It runs in a process of its own: its HTTP client reads proxy and trusted roots from the environment, once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandbox.world.client import World

_LIMIT = 10.0
_PROCESS_LIMIT = 120.0


@dataclass(frozen=True, slots=True)
class Testimony:
    """What the witness made of a domain: `valid`, `not_changed`, `none` or `fetch_error`, and the policy it read."""

    verdict: str
    id: str = ""
    mode: str = ""
    mx: tuple[str, ...] = ()
    max_age: int = 0


def ask(world: World, domains: Mapping[str, str | None]) -> dict[str, Testimony]:
    """Return what the witness says of each domain, given the id that it holds already (or None)."""
    environment = {**os.environ, "https_proxy": world.endpoints.proxy, "SSL_CERT_FILE": world.endpoints.ca_file}
    question = json.dumps({"dns": world.endpoints.dns, "domains": domains})
    answer = subprocess.run(
        [sys.executable, "-m", "sandbox.witness"],
        input=question, capture_output=True, text=True, check=True, timeout=_PROCESS_LIMIT, env=environment,
    )  # fmt: skip
    return {
        domain: Testimony(**{**said, "mx": tuple(said.get("mx", ()))})
        for domain, said in json.loads(answer.stdout).items()
    }


async def _resolve_all(dns: dict[str, Any], domains: Mapping[str, str | None]) -> dict[str, Any]:
    import aiodns  # noqa: PLC0415  heavy
    from postfix_mta_sts_resolver.resolver import STSFetchResult, STSResolver  # noqa: PLC0415

    resolver = STSResolver(loop=asyncio.get_running_loop(), timeout=_LIMIT)
    # It takes no other name server otherwise.
    resolver._resolver = aiodns.DNSResolver(  # noqa: SLF001
        nameservers=[dns["address"]], udp_port=dns["port"], tcp_port=dns["port"]
    )
    said: dict[str, Any] = {}
    for domain, known in domains.items():
        result, answer = await resolver.resolve(domain, known)
        said[domain] = {"verdict": result.name.lower()}
        if result is STSFetchResult.VALID:
            identifier, policy = answer
            kept = {key: policy[key] for key in ("mode", "mx", "max_age") if key in policy}
            said[domain] |= {"id": identifier, **kept}
    return said


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps(asyncio.run(_resolve_all(asked["dns"], asked["domains"]))))
