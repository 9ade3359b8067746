"""`mta-sts lint`: say whether a policy may be published, and why not."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts.commands.output import put_out

if TYPE_CHECKING:
    import argparse

EXIT_CLEAN = 0
EXIT_ERRORS = 1


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
    """Print what is wrong with a policy file; return 0 or 1; raises OSError."""
    from mta_sts.findings import errors  # noqa: PLC0415  a light start for --help
    from mta_sts.policy import check_policy  # noqa: PLC0415

    body = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    findings = check_policy(body)
    stopping = errors(findings)
    if options.json:
        document = [
            {"rule": found.rule, "path": found.path, "message": found.message, "severity": found.severity}
            for found in findings
        ]
        text = json.dumps({"file": options.file, "publishable": not stopping, "findings": document}, indent=2)
    else:
        verdict = f"{len(stopping)} error(s): do not publish it" if stopping else "may be published"
        text = "\n".join(f"{options.file}: {said}" for said in (*findings, verdict))
    put_out(f"{text}\n")
    return EXIT_ERRORS if stopping else EXIT_CLEAN
