"""`mta-sts`: the command line.

Each command is a module of `mta_sts.commands`, imported light. What it raises as ValueError or OSError is a wrong call.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from mta_sts.commands import adopt, check, evidence, lint, migrate, promote, recover, reports, review
from mta_sts.commands.output import drain, open_closed, put_out

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_USAGE = 64
"""Exit code for a wrong call (EX_USAGE of sysexits.h)."""

COMMANDS = (adopt, check, lint, review, reports, evidence, promote, migrate, recover)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors exit with EX_USAGE, so that CI can tell them from findings."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_closed()
    parser = _Parser(prog="mta-sts", description="MTA-STS (RFC 8461) and TLS reporting (RFC 8460) for mail domains.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        command.add_parser(commands)
    try:
        options = parser.parse_args(argv)
        return _run(options)
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        drain()


def _run(options: argparse.Namespace) -> int:
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except BrokenPipeError:
        raise
    except ValueError as error:
        said = str(error)
    except OSError as error:
        said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    print(f"mta-sts {options.command}: {said}", file=sys.stderr)
    return EXIT_USAGE


class _Version(argparse.Action):
    """Print the installed version; looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from importlib.metadata import version  # noqa: PLC0415  slow, and only this needs it

        put_out(f"mta-sts {version('pulumi-mta-sts')}\n")
        parser.exit()
