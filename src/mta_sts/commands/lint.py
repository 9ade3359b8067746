"""`mta-sts lint`: say whether a policy may be published, and why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

EXIT_CLEAN = 0
EXIT_ERRORS = 1
EXIT_USAGE = 64


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "check a policy file: what senders refuse, and what some of them do"
    parser = commands.add_parser(
        "lint", help=text, description=text, epilog="Exit codes: 0 no error (warnings are shown), 1 errors, 64 usage."
    )
    parser.add_argument("file", metavar="FILE", help="the policy file, - for standard input")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is wrong with a policy file; return 0, 1 or 64."""
    from mta_sts.findings import errors  # noqa: PLC0415  a light start for --help
    from mta_sts.policy import check_policy  # noqa: PLC0415

    try:
        body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        print(
            f"mta-sts lint: {options.file}: {error.strerror}; give a policy file, or - for standard input",
            file=sys.stderr,
        )
        return EXIT_USAGE
    findings = check_policy(body)
    stopping = errors(findings)
    if options.json:
        document = [
            {"rule": found.rule, "path": found.path, "message": found.message, "severity": found.severity}
            for found in findings
        ]
        print(json.dumps({"file": options.file, "publishable": not stopping, "findings": document}, indent=2))
    else:
        for found in findings:
            print(f"{options.file}: {found}")
        verdict = f"{len(stopping)} error(s): do not publish it" if stopping else "may be published"
        print(f"{options.file}: {verdict}")
    return EXIT_ERRORS if stopping else EXIT_CLEAN
