"""`mta-sts evidence`: write down what reports prove about a testing body, for the step to enforce."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta_sts.commands.output import ProgressLine, speak_utf8
from mta_sts.commands.reports import add_reading_options, origin_of
from mta_sts.network_options import add_network_options, network_of

if TYPE_CHECKING:
    import argparse

EXIT_ENOUGH = 0
EXIT_SHORT = 1
_HTTPS = 443


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "write the evidence file of a domain from its TLS reports, and say whether it is enough for enforce"
    parser = commands.add_parser(
        "evidence",
        help=text,
        description=text,
        epilog="Exit codes: 0 written and enough, 1 written and not enough (all reasons are shown), 64 usage: "
        "nothing was written.",
    )
    parser.add_argument("domain", metavar="DOMAIN", help="the mail domain")
    parser.add_argument(
        "--reports", dest="places", metavar="PATH", nargs="+", required=True, help="as for `mta-sts reports`"
    )
    parser.add_argument(
        "--policy", metavar="FILE", help="the body in testing (default: what https://mta-sts.DOMAIN serves now)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="default: stacks/evidence/DOMAIN.json")
    for name, default, text in (
        ("days", 7, "days with reports"),
        ("sessions", 10, "successful sessions"),
        ("organizations", 2, "organizations that report"),
        ("fresh-days", 14, "age in days of the last report, at most"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{text} (default {default})")
    add_building_options(parser)
    add_network_options(parser)
    parser.set_defaults(run=run)


def add_building_options(parser: argparse.ArgumentParser) -> None:
    """Declare how evidence is made of reports; the same for every command that makes it."""
    parser.add_argument(
        "--explain",
        metavar="TYPE[@MX]=REASON",
        action="append",
        default=[],
        help="why failures of that kind do not matter; `unreadable=REASON` for files that could not be read",
    )
    parser.add_argument(
        "--fixed",
        metavar="TYPE[@MX]=DAY:REASON",
        action="append",
        default=[],
        help="the cause was put right on that day; clean time counts from the next",
    )
    parser.add_argument(
        "--vouch", metavar="NAME:REASON", help="count reports without a valid signature; NAME stands for them"
    )
    add_reading_options(parser)


def run(options: argparse.Namespace) -> int:
    """Write the file, print what stands against it, and return 0 or 1; raises ValueError or OSError."""
    from dataclasses import astuple  # noqa: PLC0415  a light start for --help
    from datetime import UTC, datetime  # noqa: PLC0415

    from mta_sts.evidence import UNTESTED, Thresholds, check_evidence, shown_window, write_evidence  # noqa: PLC0415
    from mta_sts.findings import errors  # noqa: PLC0415
    from mta_sts.policy import Mode, Policy, parse_policy  # noqa: PLC0415

    thresholds = Thresholds(options.days, options.sessions, options.organizations, options.fresh_days)
    if min(astuple(thresholds)) < 1:
        raise ValueError("a threshold is below 1: no report is not a clean report")
    body, source = (Path(options.policy).read_bytes(), options.policy) if options.policy else _served(options)
    evidence = build(options, body)
    output = Path(options.output or f"stacks/evidence/{evidence['domain']}.json")
    write_evidence(evidence, output)
    tested = parse_policy("\n".join(evidence["body"]["policy"]) + "\n")
    enforce = Policy(tested.version, Mode.ENFORCE, tested.mx, tested.max_age)
    findings = check_evidence(evidence, enforce, thresholds, datetime.now(UTC), domain=evidence["domain"])
    speak_utf8()
    print(f"{evidence['domain']}: evidence about the body of {source}")
    for finding in findings:
        print(finding)
    if evidence["window"]["last_day"]:
        print(f"{evidence['domain']}: {shown_window(evidence['window'])}. {UNTESTED}.")
    stopping = errors(findings)
    print(f"{output}: {'not enough for enforce' if stopping else 'enough for enforce'}")
    return EXIT_SHORT if stopping else EXIT_ENOUGH


def _served(options: argparse.Namespace) -> tuple[bytes, str]:
    """Return the body that the policy host serves now, and its address; raises ValueError where it serves none."""
    import asyncio  # noqa: PLC0415  a light start for --help

    from mta_sts.checks.lookup import Dns  # noqa: PLC0415
    from mta_sts.fetch import WELL_KNOWN, FetchError, fetch_policy  # noqa: PLC0415
    from mta_sts.names import normalise_host  # noqa: PLC0415

    network, domain = network_of(options), normalise_host(options.domain)
    host = f"mta-sts.{domain}"
    looked = asyncio.run(Dns(network).addresses(host))
    problem = f"looking for its address ended in {looked.failure}" if looked.failure else "it has no address"
    for address in looked.values:
        try:
            port = network.port(host, address, _HTTPS)
            served = fetch_policy(domain, address, port, context=network.tls_context())
        except FetchError as error:
            problem = error.findings[0].message
        else:
            return served.body, f"https://{host}{WELL_KNOWN}, as it is served now"
    raise ValueError(f"{host} gives no policy ({problem}); give the body that is in testing with --policy FILE")


def build(options: argparse.Namespace, policy: bytes) -> dict[str, Any]:
    """Return the evidence about a body in testing that the reports at `options.places` give; raises as its parts do."""
    from mta_sts.evidence import build_evidence, parse_explanation, parse_vouching  # noqa: PLC0415  a light start
    from mta_sts.reports.containers import Limits  # noqa: PLC0415

    with ProgressLine() as line:
        return build_evidence(
            options.domain,
            policy,
            options.places,
            origin=origin_of(options),
            explanations=[
                *(parse_explanation(text) for text in options.explain),
                *(parse_explanation(text, fixed=True) for text in options.fixed),
            ],
            vouching=parse_vouching(options.vouch) if options.vouch else None,
            limits=Limits(document=options.max_size * 2**20),
            jobs=options.jobs,
            progress=line.show,
        )
