"""`mta-sts check`: whether what domains publish is right, seen from outside."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts.commands.reports import ProgressLine, speak_utf8
from mta_sts.network_options import add_network_options, network_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import datetime

    from mta_sts.checks.report import DomainReport
    from mta_sts.checks.run import Known
    from mta_sts.checks.targets import BadLine
    from mta_sts.domain_config import DomainConfig

EXIT_GOOD = 0
EXIT_ERRORS = 1
EXIT_NOT_SURE = 2
EXIT_USAGE = 64


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
        help="the JSON of an earlier run: what senders may hold from then, and when MX hosts were looked at",
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
    add_network_options(parser)
    parser.set_defaults(run=run, form="table")


def run(options: argparse.Namespace) -> int:
    """Check, print, and return 0, 1, 2 or 64."""
    try:
        return _check(options)
    except ValueError as error:
        print(f"mta-sts check: {error}", file=sys.stderr)
    except OSError as error:
        print(f"mta-sts check: {error.filename}: {error.strerror}", file=sys.stderr)
    return EXIT_USAGE


def _check(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime  # noqa: PLC0415  a light start for --help

    from mta_sts.files import write_whole  # noqa: PLC0415

    network = network_of(options)
    if options.output:
        _check_output(Path(options.output).absolute())
    declared = _declared(options.stack) if options.stack else {}
    domains, bad = _targets(options, declared)
    for one in bad:
        print(f"{options.file}: {one}", file=sys.stderr)
    if not domains:
        raise ValueError("nothing to check: give domains, --stack or --file with at least one mail domain")
    known = _known(options, domains, declared)
    from mta_sts.checks.run import check_domains  # noqa: PLC0415  heavy

    with ProgressLine() as line:
        reports = check_domains(domains, network, known, smtp=not options.no_smtp, progress=line.show)
    text = _written(options.form, reports, bad, datetime.now(UTC).replace(microsecond=0))
    if options.output:
        write_whole(Path(options.output), text)
    else:
        speak_utf8(always=options.form != "table")
        sys.stdout.write(text)
    verdicts = {report.verdict for report in reports}
    if "errors" in verdicts:
        return EXIT_ERRORS
    return EXIT_NOT_SURE if bad or "not sure" in verdicts else EXIT_GOOD


def _check_output(file: Path) -> None:
    """Raise ValueError where the results could not be written: a long run is not to end in that."""
    if not file.parent.is_dir():
        raise ValueError(f"-o {file}: there is no folder {file.parent}")
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise ValueError(f"-o {file}: can't be written; name a file in a folder that is yours")


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
    from mta_sts.stack_file import declared_domains  # noqa: PLC0415

    file = Path(stack) if stack.endswith((".yaml", ".yml")) else Path("stacks") / f"Pulumi.{stack}.yaml"
    entries = declared_domains(file.read_text(encoding="utf-8"))
    wrong = errors(check_domains(entries))
    if wrong:
        raise MtaStsError(str(file), wrong)
    configs = map(resolve_domain, entries)
    return {config.domain: config for config in configs}


def _known(options: argparse.Namespace, domains: Sequence[str], declared: dict[str, DomainConfig]) -> Known:
    """Return what is known beforehand; raises ValueError or OSError where it can't be read."""
    from mta_sts.checks.memory import load_run  # noqa: PLC0415  a light start for --help
    from mta_sts.checks.run import Known  # noqa: PLC0415

    before = load_run(options.last_run) if options.last_run else None
    versions = {}
    if options.bucket:
        import boto3  # noqa: PLC0415  heavy

        from mta_sts.ledger import read_versions  # noqa: PLC0415

        s3 = boto3.client("s3")
        versions = {domain: read_versions(s3, options.bucket, domain) for domain in domains}
    if before is None:
        return Known(declared, versions=versions)
    return Known(declared, before.histories, versions, smtp=before.smtp)


def _written(form: str, reports: list[DomainReport], bad: list[BadLine], when: datetime) -> str:
    from mta_sts.checks import writers  # noqa: PLC0415  a light start for --help

    if form == "json":
        return writers.to_json(reports, bad, when)
    if form == "markdown":
        return writers.to_markdown(reports, bad)
    return writers.to_junit(reports, bad) if form == "junit" else writers.to_table(reports, bad)
