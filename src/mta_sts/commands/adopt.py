"""`mta-sts adopt`: how a domain that publishes MTA-STS elsewhere moves in, without any sender noticing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mta_sts.commands.output import ProgressLine, put_out
from mta_sts.network_options import add_network_options, network_of

if TYPE_CHECKING:
    import argparse

    from mta_sts.adoption.observe import Observed
    from mta_sts.adoption.plan import Adoption
    from mta_sts.adoption.zone import ZoneRecords
    from mta_sts.network_options import Network

EXIT_CLEAR = 0
EXIT_STOPPED = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "plan how a domain that publishes MTA-STS elsewhere moves in: configuration, import file, dated order"
    parser = commands.add_parser(
        "adopt",
        help=text,
        description=f"{text}. It only reads. With CLOUDFLARE_API_TOKEN set, record ids are looked up.",
        epilog="Exit codes: 0 nothing stands against the move, 1 something does (every reason is shown, with the plan "
        "as far as it can be made), 64 usage: nothing was written.",
    )
    parser.add_argument("domain", metavar="DOMAIN", help="the mail domain, such as example.com")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON document")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead, whole or not at all")
    add_network_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, plan, print, and return 0 or 1; raises ValueError or OSError."""
    from mta_sts.domain_config import check_domain  # noqa: PLC0415  a light start for --help
    from mta_sts.findings import errors  # noqa: PLC0415

    wrong = [found for found in check_domain({"domain": options.domain, "mode": "none"}) if found.path == "domain"]
    if wrong:
        raise ValueError(wrong[0].message)
    network = network_of(options)
    adoption = _look(options.domain, network)
    from mta_sts.adoption.writers import to_json, to_text  # noqa: PLC0415

    text = to_json(adoption) if options.json else to_text(adoption)
    put_out(text, options.output, utf8=options.json)
    return EXIT_STOPPED if errors(adoption.findings) else EXIT_CLEAR


def _look(domain: str, network: Network) -> Adoption:
    """Return the plan from what stands in the world now."""
    import asyncio  # noqa: PLC0415  a light start for --help

    from mta_sts.adoption.plan import plan  # noqa: PLC0415
    from mta_sts.names import to_ascii  # noqa: PLC0415

    with ProgressLine() as line:
        return plan(asyncio.run(_observed(to_ascii(domain), network, line)))


async def _observed(domain: str, network: Network, line: ProgressLine) -> Observed:
    """Return what stands in DNS, at the policy host and in the zone, and tell meanwhile that it takes long."""
    import asyncio  # noqa: PLC0415  a light start for --help
    from dataclasses import replace  # noqa: PLC0415

    from mta_sts.adoption.observe import observe  # noqa: PLC0415

    work = asyncio.gather(observe(domain, network), asyncio.to_thread(_records, domain))
    seconds = 0
    while not work.done():
        await asyncio.wait([work], timeout=1)
        seconds += 1
        line.show(f"looking at {domain}: DNS, the policy host, the zone ({seconds} s, a minute at most)")
    seen, (records, unread) = work.result()
    return replace(seen, records=records, unread=unread)


def _records(domain: str) -> tuple[ZoneRecords | None, str]:
    """Return the zone's own records, or why they are not known."""
    import os  # noqa: PLC0415  a light start for --help

    from mta_sts.adoption.zone import ZoneUnreadError, read_zone  # noqa: PLC0415

    try:
        return read_zone(domain, os.environ), ""
    except ZoneUnreadError as error:
        return None, str(error)
