"""`mta-sts promote`: edit the stack file from testing to enforce, attach the evidence, word the pull request."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mta_sts.commands.evidence import add_building_options, build
from mta_sts.commands.output import speak_utf8

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mta_sts.findings import Finding

EXIT_PROMOTED = 0
EXIT_REFUSED = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "set a domain of a stack file from testing to enforce, on evidence, and print the pull request's text"
    parser = commands.add_parser(
        "promote",
        help=text,
        description=text,
        epilog="Exit codes: 0 stack file and evidence are written, 1 refused (every reason is shown), 64 usage; with "
        "1 and 64 nothing was written.",
    )
    parser.add_argument("domain", metavar="DOMAIN", help="the mail domain, as the stack file declares it")
    parser.add_argument("--stack", metavar="NAME", required=True, help="stacks/Pulumi.NAME.yaml, or a path to a file")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--evidence", metavar="FILE", help="a file that `mta-sts evidence` wrote")
    given.add_argument("--reports", dest="places", metavar="PATH", nargs="+", help="as for `mta-sts reports`")
    add_building_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write both files or neither, and return 0 or 1; raises ValueError or OSError."""
    from datetime import UTC, datetime  # noqa: PLC0415

    from mta_sts.domain_config import check_domain, resolve_domain  # noqa: PLC0415
    from mta_sts.evidence import Thresholds, load_evidence  # noqa: PLC0415
    from mta_sts.findings import Severity, errors  # noqa: PLC0415
    from mta_sts.ledger import PolicyVersion  # noqa: PLC0415
    from mta_sts.policy import Mode, render_policy  # noqa: PLC0415
    from mta_sts.promotion import check_step, complete_on  # noqa: PLC0415
    from mta_sts.stack_file import StackFileError, read_stack, set_mode, stack_file  # noqa: PLC0415

    speak_utf8()
    if options.evidence and (options.explain or options.fixed or options.vouch):
        raise ValueError("--explain, --fixed and --vouch go with --reports: an evidence file is not changed")
    stack = stack_file(options.stack).resolve()
    text, declared = read_stack(stack)
    index = _index(declared, options.domain)
    before = resolve_domain(declared[index])
    if before.mode is not Mode.TESTING:
        raise StackFileError(f"{before.domain} is in {before.mode} in {stack}; only a domain in testing is promoted")
    served = render_policy(before.policy)
    evidence = load_evidence(options.evidence) if options.evidence else build(options, served)
    now = datetime.now(UTC)
    wanted = declared[index] | {"mode": "enforce", "evidence": evidence}
    after = resolve_domain({key: value for key, value in wanted.items() if key != "acknowledge"})
    # Whether this body is what is served, the preview says: it reads the bucket.
    findings = check_step(
        after,
        after.policy,
        [PolicyVersion("", {}, now.timestamp(), served.decode())],
        now,
        "what the stack file declares",
    )
    stopping = errors(findings)
    if stopping:
        for finding in findings:
            print(finding)
        ready = complete_on(evidence, before.policy, Thresholds(**after.thresholds), now.date())
        print(f"{before.domain} stays in testing; the evidence can be enough on {ready} at the earliest")
        return EXIT_REFUSED
    changed = set_mode(text, index, "enforce")
    attached = stack.parent / "evidence" / f"{before.domain}.json"
    _write_both(stack, changed, attached, evidence)
    notes = [*findings, *(found for found in check_domain(wanted) if found.severity is Severity.WARNING)]
    print(_request(after.domain, evidence, notes, after.max_age))
    print(f"\n{stack} and {attached} are written; open the pull request with both.", file=sys.stderr)
    return EXIT_PROMOTED


def _index(declared: Sequence[Any], domain: str) -> int:
    from mta_sts.names import normalise_host, to_ascii  # noqa: PLC0415
    from mta_sts.stack_file import StackFileError  # noqa: PLC0415

    name = normalise_host(domain)
    names = [to_ascii(str(each.get("domain"))) if isinstance(each, dict) else "" for each in declared]
    if names.count(name) != 1:
        raise StackFileError(f"the stack file declares {name} {names.count(name)} times; it has {', '.join(names)}")
    return names.index(name)


def _write_both(stack: Path, text: str, attached: Path, evidence: Mapping[str, Any]) -> None:
    """Write evidence, then stack file: in testing an evidence file changes nothing. What fails is taken back."""
    from mta_sts.evidence import write_evidence  # noqa: PLC0415
    from mta_sts.files import write_whole  # noqa: PLC0415

    earlier = attached.read_text(encoding="utf-8") if attached.exists() else None
    write_evidence(evidence, attached)
    try:
        write_whole(stack, text)
    except BaseException:
        if earlier is None:
            attached.unlink()
        else:
            write_whole(attached, earlier)
        raise


def _request(domain: str, evidence: Mapping[str, Any], notes: Sequence[Finding], max_age: int) -> str:
    """Return the text of the pull request, in Markdown."""
    window, origin = evidence["window"], evidence["origin"]
    lines = [
        f"# Enforce MTA-STS for {domain}",
        "",
        f"From testing to enforce: senders that support MTA-STS will deliver to {domain} only by TLS to a listed MX",
        f"host with a valid certificate. Each may keep this policy for {max_age} seconds.",
        "",
        "| Evidence | |",
        "| --- | --- |",
        f"| body in testing | {'; '.join(evidence['body']['policy'])} (`{evidence['body']['id']}`) |",
        f"| clean time | {window['clean_from']} to {window['last_day']} |",
        f"| days with reports | {window['days_with_reports']} |",
        f"| successful sessions | {window['successful_sessions']} |",
        f"| independent organizations | {window['organizations']} |",
        f"| origin | {_cell(origin['method'])} |",
        f"| failures | {len(evidence['failures']) or 'none reported since the body was first seen'} |",
        f"| read | {evidence['read']['reports']} reports, {evidence['read']['unreadable']} unreadable files |",
        "",
        "| Organization | signed by | successful | failed | days |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {_cell(one['name'])} | {_cell(one['signed_by'] or 'nobody')} | {one['successful']} | "
            f"{one['failed']} | {one['first_day']} to {one['last_day']} |"
            for one in evidence["organizations"]
        ),
        "",
        "What a reviewer should look at:",
        "",
        *(f"- {_cell(str(note))}" for note in notes),
        "",
        "If mail is held back after this: set `mode: testing` again and deploy; that way is never held up.",
    ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return text, some of it from reports, that can't leave its cell or become markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_|<>[]#!@" else letter for letter in text.replace("\n", " "))
