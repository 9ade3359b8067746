"""What `make up` and `make check` look at: `mta-sts check` itself, in the sandbox's world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts.checks.report import Kind
from mta_sts.checks.run import Known, check_domains
from mta_sts.network_options import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mta_sts.checks.report import DomainReport
    from sandbox.world.client import World

_OURS = Known(own_ids=True)
"""Every id in the sandbox is made by this product."""


def network_of(world: World) -> Network:
    """Return how the world is reached."""
    places = world.endpoints
    return Network(((places.dns["address"], places.dns["port"]),), Path(places.ca_file), world.port_map())


def reports(world: World, domains: Sequence[str], known: Known = _OURS) -> list[DomainReport]:
    """Return what is found of domains as seen from outside."""
    return check_domains(domains, network_of(world), known)


def problems(world: World, domain: str) -> list[str]:
    """Return what is wrong with a domain, and what could not be looked at."""
    (report,) = reports(world, [domain])
    return [str(point) for point in report.points if point.kind in (Kind.ERROR, Kind.SKIPPED)]
