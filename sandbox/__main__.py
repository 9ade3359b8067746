"""`python -m sandbox`: deploy the sandbox stack with the real engine, and let real senders deliver to it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.deployment import Deployment
    from sandbox.world.client import World

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 refused or failed, 64 wrong usage."""
    options = _parser().parse_args(argv)
    # SIGTERM ends as Ctrl-C does: what was started is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except KeyboardInterrupt:
        print("\ninterrupted; the next `make up` goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("MTA_STS_SANDBOX") or ROOT / ".sandbox"),
        help="where this sandbox lives (default: .sandbox, or the variable MTA_STS_SANDBOX); "
        "two folders are two sandboxes",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, text in (
        (up, "preview, deploy, check, deliver; what is missing is set up first"),
        (preview, "show what `up` would change, and change nothing"),
        (deliver, "let the senders deliver once more"),
        (advance, "move the sandbox's clock on"),
        (down, "end the sandbox's processes and throw its world and state away (this is no `pulumi destroy`)"),
    ):
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        if run is advance:
            command.add_argument("seconds", type=int, help="how far, in seconds")
    return parser


def up(options: argparse.Namespace) -> int:
    """Preview, stop there if it refuses; then update, check and deliver."""
    world = _world(options)
    with world:
        deployment = _deployment(options, world)
        _say("Previewing")
        planned = deployment.preview(on_output=None)
        if not planned.ok:
            return _refused(planned.diagnostics)
        _say(f"Planned: {planned.summary()}")
        if planned.changes:
            result = deployment.up(on_event=_progress())
            if not result.ok:
                return _refused(result.diagnostics)
            _say(f"Updated: {result.summary()}")
        world.detach()
    return deliver(options)


def preview(options: argparse.Namespace) -> int:
    """Show the engine's own difference between what stands and what is declared."""
    world = _world(options)
    with world:
        planned = _deployment(options, world).preview(on_output=print, diff=True)
        world.detach()
        return 0 if planned.ok else 1


def deliver(options: argparse.Namespace) -> int:
    """Check what is published and deliver one mail to each domain with every sender."""
    from sandbox.senders import deliver_all  # noqa: PLC0415

    with _world(options) as world:
        rows = deliver_all(world, options.folder / "senders.json")
        world.detach()
    _table(rows)
    return 0


def advance(options: argparse.Namespace) -> int:
    """Let time pass for everything in the sandbox at once."""
    with _world(options) as world:
        world.advance(options.seconds)
        print(f"The sandbox's clock says {world.now()}")
        world.detach()
    return 0


def down(options: argparse.Namespace) -> int:
    """End the processes and remove the folder; the last time-line stays."""
    raise NotImplementedError


def _say(text: str) -> None:
    print(text, flush=True)
