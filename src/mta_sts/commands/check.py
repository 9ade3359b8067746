"""`mta-sts check`: whether what domains publish is right, seen from outside."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta_sts.commands.output import ProgressLine, put_out
from mta_sts.network_options import add_network_options, network_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from mta_sts.checks.memory import LastRun
    from mta_sts.checks.report import DomainReport, LookedHost
    from mta_sts.checks.run import Known
    from mta_sts.checks.targets import BadLine
    from mta_sts.domain_config import DomainConfig
    from mta_sts.ledger import PolicyVersion

EXIT_GOOD = 0
EXIT_ERRORS = 1
EXIT_NOT_SURE = 2
_READERS = 10
"""Domains that are read from the bucket at once: as many as boto3 has connections for."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "check what domains publish, as senders see it: records, policy host, MX hosts, certificates"
    parser = commands.add_parser(
        "check",
        help=text,
        description=f"{text}. It only reads, and sends no mail.",
        epilog="Exit codes: 0 no error, 1 errors, 2 no error but something could not be looked at (each is named), 64 "
        "usage. Warnings and notes leave the code as it is.",
    )
    parser.add_argument("domains", metavar="DOMAIN", nargs="*", help="mail domains, such as example.com")
    parser.add_argument(
        "--stack", metavar="NAME", help="check the domains of stacks/Pulumi.NAME.yaml (or of that file) against it"
    )
    parser.add_argument(
        "--file", metavar="LIST", help="check the domains in this file, one a line; - is standard input"
    )
    parser.add_argument(
        "--last-run",
        metavar="FILE",
        type=Path,
        action="append",
        help="the JSON of an earlier run: what senders may hold from then, and when MX hosts were looked at (may be "
        "given again: of an MX host the latest look counts)",
    )
    parser.add_argument(
        "--bucket", metavar="NAME", help="the policy bucket: what senders may hold, as it remembers (needs AWS access)"
    )
    parser.add_argument("--no-smtp", action="store_true", help="leave the MX hosts alone where port 25 is blocked")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print one JSON document")
    form.add_argument(
        "--format", dest="form", choices=("table", "json", "markdown", "junit"), help="what to print (default table)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead, whole or not at all")
    parser.add_argument("--keep", metavar="FILE", help="write the JSON there too, for the next --last-run")
    add_network_options(parser)
    parser.set_defaults(run=run, form="table")


def run(options: argparse.Namespace) -> int:
    """Check, print, and return 0, 1 or 2; raises ValueError or OSError."""
    from datetime import UTC, datetime  # noqa: PLC0415  a light start for --help

    network = network_of(options)
    for option, file in (("-o", options.output), ("--keep", options.keep)):
        if file:
            _check_output(option, Path(file).absolute())
    declared = _declared(options.stack) if options.stack else {}
    domains, bad = _targets(options, declared)
    for one in bad:
        print(f"{options.file}: {one}", file=sys.stderr)
    if not domains:
        given = " and ".join(filter(None, (options.stack and "--stack", options.file and f"--file {options.file}")))
        raise ValueError(f"nothing to check: {given or 'the call'} names no mail domain; give one, such as example.com")
    from mta_sts.checks.run import check_domains  # noqa: PLC0415  heavy

    with ProgressLine() as line:
        known = _known(options, domains, declared, line.show)
        reports = check_domains(domains, network, known, smtp=not options.no_smtp, progress=line.show)
    now = datetime.now(UTC).replace(microsecond=0)
    if options.keep:
        put_out(_written("json", reports, bad, now), options.keep)
    put_out(_written(options.form, reports, bad, now), options.output, utf8=options.form != "table")
    verdicts = {report.verdict for report in reports}
    if "errors" in verdicts:
        return EXIT_ERRORS
    return EXIT_NOT_SURE if bad or "not sure" in verdicts else EXIT_GOOD


def _check_output(option: str, file: Path) -> None:
    """Raise ValueError where the results could not be written: a long run is not to end in that."""
    if not file.parent.is_dir():
        raise ValueError(f"{option} {file}: there is no folder {file.parent}")
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise ValueError(f"{option} {file}: can't be written; name a file in a folder that is yours")


def _targets(options: argparse.Namespace, declared: dict[str, DomainConfig]) -> tuple[list[str], list[BadLine]]:
    """Return the domains and the bad lines of a list; raises ValueError with every bad domain of the call."""
    from mta_sts.checks.targets import domain_problem, once, read_list  # noqa: PLC0415  a light start for --help

    wrong = [problem for problem in map(domain_problem, options.domains) if problem]
    if wrong:
        raise ValueError("; ".join(wrong))
    listed: list[str] = []
    bad: list[BadLine] = []
    if options.file:
        listed, bad = read_list(sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes())
    return once([*options.domains, *declared, *listed]), bad


def _declared(stack: str) -> dict[str, DomainConfig]:
    """Return what a stack file declares by domain; raises ValueError with everything that is wrong with it."""
    from mta_sts.domain_config import check_domains, resolve_domain  # noqa: PLC0415  a light start for --help
    from mta_sts.findings import MtaStsError, errors  # noqa: PLC0415
    from mta_sts.stack_file import read_stack, stack_file  # noqa: PLC0415

    file = stack_file(stack)
    _, entries = read_stack(file)
    wrong = errors(check_domains(entries))
    if wrong:
        raise MtaStsError(str(file), wrong)
    configs = map(resolve_domain, entries)
    return {config.domain: config for config in configs}


def _known(
    options: argparse.Namespace,
    domains: Sequence[str],
    declared: dict[str, DomainConfig],
    show: Callable[[str], None],
) -> Known:
    """Return what is known beforehand; raises ValueError or OSError where it can't be read."""
    from mta_sts.checks.memory import load_run  # noqa: PLC0415  a light start for --help
    from mta_sts.checks.run import Known  # noqa: PLC0415

    runs = [load_run(file) for file in options.last_run or ()]
    versions: dict[str, list[PolicyVersion]] = {}
    if options.bucket:
        versions = _versions(options.bucket, domains, show)
    if not runs:
        return Known(declared, versions=versions)
    histories, smtp = _together(runs)
    return Known(declared, histories, versions, smtp=smtp)


def _versions(bucket: str, domains: Sequence[str], show: Callable[[str], None]) -> dict[str, list[PolicyVersion]]:
    """Return what the policy bucket remembers of each domain; raises MtaStsError where it can't be read."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  a light start for --help

    from mta_sts.ledger import read_versions, s3_client  # noqa: PLC0415

    s3 = s3_client()
    versions: dict[str, list[PolicyVersion]] = {}

    def read(domain: str) -> None:
        versions[domain] = read_versions(s3, bucket, domain)

    read(domains[0])  # alone: what stands against it stands against all
    with ThreadPoolExecutor(_READERS) as pool:
        for done, _ in enumerate(pool.map(read, domains[1:]), 2):
            show(f"{done:,} of {len(domains):,} domains read from the bucket")
    return versions


def _together(runs: Sequence[LastRun]) -> LastRun:
    """Return what several runs knew: of policies the last given one's word, of each MX host the latest look."""
    from mta_sts.checks.memory import LastRun  # noqa: PLC0415  a light start for --help

    histories: dict[str, list[dict[str, Any]]] = {}
    smtp: dict[str, dict[str, LookedHost]] = {}
    for run in runs:
        histories |= run.histories
        for domain, hosts in run.smtp.items():
            known = smtp.setdefault(domain, {})
            for host, looked in hosts.items():
                earlier = known.get(host)
                if earlier is None or (
                    looked.seen is not None and (earlier.seen is None or earlier.seen < looked.seen)
                ):
                    known[host] = looked
    return LastRun(histories, smtp)


def _written(form: str, reports: list[DomainReport], bad: list[BadLine], when: datetime) -> str:
    from mta_sts.checks import writers  # noqa: PLC0415  a light start for --help

    if form == "json":
        return writers.to_json(reports, bad, when)
    if form == "markdown":
        return writers.to_markdown(reports, bad)
    return writers.to_junit(reports, bad) if form == "junit" else writers.to_table(reports, bad)
