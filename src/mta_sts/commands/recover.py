"""`mta-sts recover`: mend a stack's state after an update that was killed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts.commands.output import speak_utf8

if TYPE_CHECKING:
    import argparse

    from mta_sts.recovery import Damage

EXIT_MENDED = 0
EXIT_LEFT = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "mend a stack's state after an update that was killed: damaged files, lock, things made and not recorded"
    parser = commands.add_parser(
        "recover",
        help=text,
        description=f"{text}. It shows what it would do; --yes does it, through Pulumi's own commands. Nothing in a "
        "cloud is changed or deleted.",
        epilog="Exit codes: 0 nothing is left to mend (with --yes: or it was mended), 1 something is left: what, and "
        "what to do, is shown, 64 usage.",
    )
    parser.add_argument("--stack", metavar="NAME", required=True, help="the stack, such as prod")
    parser.add_argument(
        "--cwd", metavar="FOLDER", type=Path, default=Path(), help="where Pulumi.yaml is (default: here)"
    )
    parser.add_argument("--yes", action="store_true", help="do it")
    parser.add_argument("--cancel-lock", action="store_true", help="end a lock whose update surely runs no more")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, show, mend if asked to, and return 0 or 1; raises ValueError for a wrong call."""
    import os  # noqa: PLC0415  a light start for --help

    from mta_sts.recovery import RecoveryError, Stack  # noqa: PLC0415

    if not any((options.cwd / name).is_file() for name in ("Pulumi.yaml", "Pulumi.yml")):
        raise ValueError(f"no Pulumi.yaml in {options.cwd.absolute()}; give its folder as --cwd")
    stack = Stack(options.cwd, options.stack)
    try:
        damage = stack.damage(os.environ)
        _show(damage)
        for _ in range(2):  # the second time for what a damaged file hid
            if options.yes and damage.found:
                stack.mend(damage, cancel_lock=options.cancel_lock)
                damage = stack.damage(os.environ)
                _show(damage)
    except RecoveryError as error:
        print(f"mta-sts recover: {error}", file=sys.stderr)
        return EXIT_LEFT
    return EXIT_LEFT if damage.found else EXIT_MENDED


def _show(damage: Damage) -> None:
    speak_utf8()
    for line in damage.found or ["nothing to mend"]:
        print(line)
