"""`mta-sts migrate`: the dated steps of replacing all MX hosts of a domain, before it starts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mta_sts.commands.output import put_out

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import datetime

    from mta_sts.domain_config import DomainConfig
    from mta_sts.migration import MigrationStep

EXIT_PRINTED = 0
_MEANWHILE = 86_400


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "print the dated steps of replacing all MX hosts of a domain"
    parser = commands.add_parser(
        "migrate",
        help=text,
        description=f"{text}, from what a stack file declares, as if that had been published for long. It only reads.",
        epilog="Exit codes: 0 printed, 64 usage.",
    )
    parser.add_argument("domain", metavar="DOMAIN", help="the mail domain, as the stack file declares it")
    parser.add_argument("--to", metavar="HOST[,HOST…]", required=True, help="the new MX hosts, preferred one first")
    parser.add_argument("--stack", metavar="NAME", required=True, help="stacks/Pulumi.NAME.yaml, or a path to a file")
    parser.add_argument(
        "--max-age",
        metavar="SECONDS",
        type=int,
        default=_MEANWHILE,
        help=f"max_age while hosts change, if enforce has a longer one (default {_MEANWHILE})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the steps and return 0; raises ValueError or OSError."""
    from datetime import UTC, datetime  # noqa: PLC0415  a light start for --help

    from mta_sts.migration import migration  # noqa: PLC0415
    from mta_sts.names import normalise_host  # noqa: PLC0415

    config = _declared(options)
    hosts = [normalise_host(host) for host in options.to.split(",")]
    steps = migration(config, hosts, datetime.now(UTC).replace(microsecond=0), options.max_age)
    put_out(f"{_json(steps) if options.json else _text(config.domain, steps)}\n", utf8=options.json)
    return EXIT_PRINTED


def _declared(options: argparse.Namespace) -> DomainConfig:
    """Return the domain's declaration; raises ValueError with everything that is wrong with the call or the file."""
    from mta_sts.domain_config import check_domain, resolve_domain  # noqa: PLC0415  a light start for --help
    from mta_sts.findings import MtaStsError, errors  # noqa: PLC0415
    from mta_sts.names import to_ascii  # noqa: PLC0415
    from mta_sts.stack_file import read_stack, stack_file  # noqa: PLC0415

    file = stack_file(options.stack)
    _, entries = read_stack(file)
    wanted = to_ascii(options.domain)
    named = [entry for entry in entries if isinstance(entry, dict) and to_ascii(str(entry.get("domain"))) == wanted]
    if not named:
        raise ValueError(f"{file} declares no {options.domain}")
    (entry,) = named[:1]
    # The new hosts and the max_age are judged as they will be when they stand there.
    hosts = options.to.split(",")
    future = {**entry, "mx": [{"host": host, "preference": 10} for host in hosts], "max_age": options.max_age}
    wrong = dict.fromkeys([*errors(check_domain(entry)), *errors(check_domain(future))])
    if wrong:
        raise MtaStsError(f"{options.domain} of {file}", list(wrong))
    config = resolve_domain(entry)
    same = {host.host for host in config.mx} & {to_ascii(host) for host in hosts}
    if same:
        raise ValueError(
            f"{', '.join(sorted(same))}: declared already; give the hosts that are new, and edit `mx` for less"
        )
    return config


def _text(domain: str, steps: Sequence[MigrationStep]) -> str:
    lines = [f"{domain}: {len(steps)} steps; one that comes later moves those after it by as much", ""]
    for number, step in enumerate(steps, 1):
        lines.append(f"{number}. from {_date(step.when)}: {step.do}: {step.why}")
        lines += [f"     {name}: {json.dumps(value)}" for name, value in step.declare.items()]
    return "\n".join(lines)


def _json(steps: Sequence[MigrationStep]) -> str:
    document = [
        {"from": step.when.isoformat(), "do": step.do, "why": step.why, "declare": step.declare} for step in steps
    ]
    return json.dumps({"steps": document}, indent=2)


def _date(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
