"""`mta-sts review`: what a planned change means for senders of mail, and whether it is safe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts.commands.output import ProgressLine, put_out
from mta_sts.network_options import add_network_options, network_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from mta_sts.review.live import Live
    from mta_sts.review.verdict import Grade, Review
    from mta_sts.review.world import Domain

EXIT_GOOD = 0
EXIT_UNSAFE = 1
EXIT_UNKNOWN = 2
_FAIL_ON = ("degraded", "unknown", "unsafe", "never")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "review a Pulumi plan: what senders will see, and whether mail can be refused"
    parser = commands.add_parser(
        "review",
        help=text,
        description=f"{text}. Any program's plan will do. It only reads.",
        epilog="Exit codes: 0 safe or degraded, 1 unsafe, 2 it could not be told, 64 usage. --fail-on moves the line: "
        "what is milder gives 0; degraded, where it fails, gives 1. A plan that could not be read gives 2 unless "
        "--fail-on is never.",
    )
    parser.add_argument(
        "plans",
        metavar="PLAN",
        nargs="+",
        help="what `pulumi preview --json --show-sames` wrote, one file a stack; - is standard input",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print one JSON document")
    form.add_argument(
        "--format", dest="form", choices=("text", "markdown", "json"), help="what to print (default text)"
    )
    parser.add_argument(
        "--fail-on",
        choices=_FAIL_ON,
        default="unknown",
        help="the mildest verdict that fails: safe < degraded < unknown < unsafe (default unknown)",
    )
    parser.add_argument(
        "--live",
        action="store_true",
        help="look at DNS, the policy hosts and the policy buckets (needs AWS access) too",
    )
    parser.add_argument(
        "--rules-page",
        metavar="URL",
        default="",
        help="in Markdown, make each rule a link into this copy of docs/review.md",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead, whole or not at all")
    add_network_options(parser)
    parser.set_defaults(run=run, form="text")


def run(options: argparse.Namespace) -> int:
    """Review, print, and return 0, 1 or 2; raises ValueError or OSError."""
    from datetime import UTC, datetime  # noqa: PLC0415  a light start for --help

    from mta_sts.review.markdown import to_markdown  # noqa: PLC0415
    from mta_sts.review.writers import to_json, to_text  # noqa: PLC0415

    now = datetime.now(UTC).replace(microsecond=0)
    found = _judge(options, now)
    if options.form == "markdown":
        text = to_markdown(found, now, options.rules_page)
    else:
        text = {"text": to_text, "json": to_json}[options.form](found, now)
    put_out(text, options.output, utf8=options.form != "text")
    for problem in found.problems:
        print(f"mta-sts review: {problem}", file=sys.stderr)
    # A plan that could not be read or made says nothing: that never passes as "milder than unsafe".
    fail_on = "unknown" if found.problems and options.fail_on == "unsafe" else options.fail_on
    return _exit_code(found.grade, fail_on)


def _judge(options: argparse.Namespace, now: datetime) -> Review:
    """Read the plans and judge them; what is no plan is a problem of the review, so that a comment can say it."""
    from mta_sts.review.plan import PlanError, read_plan  # noqa: PLC0415  a light start for --help
    from mta_sts.review.verdict import review  # noqa: PLC0415

    if options.plans.count("-") > 1:
        raise ValueError("- is given twice; standard input can be read once")
    network = network_of(options)
    plans, problems = [], []
    for source in options.plans:
        name = "standard input" if source == "-" else source
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        try:
            plans.append(read_plan(name, data))
        except PlanError as error:
            problems.append(str(error))
    stacks = [(plan.project, plan.stack) for plan in plans if plan.steps]
    if len(set(stacks)) < len(stacks):
        raise ValueError("two plans are of one stack; give one plan a stack")

    def look(domains: Sequence[Domain]) -> Mapping[str, Live]:
        from mta_sts.review.live import look_at  # noqa: PLC0415  heavy

        with ProgressLine() as line:
            return look_at(domains, network, now, line.show)

    found = review(plans, look if options.live else None)
    found.problems += problems
    return found


def _exit_code(grade: Grade, fail_on: str) -> int:
    """Return 0 for what is milder than the line, else 2 for what could not be told and 1 for the rest."""
    order = ("safe", "degraded", "unknown", "unsafe", "never")
    if grade == "safe" or order.index(grade) < order.index(fail_on):
        return EXIT_GOOD
    return EXIT_UNKNOWN if grade == "unknown" else EXIT_UNSAFE
