"""`python -m sandbox`: deploy the sandbox stack with the real engine, and let real senders deliver to it."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mta_sts.commands.output import put_out
from sandbox import SandboxError
from sandbox.world.faults import API_FAULTS, DNS_FAULTS, EDGE_FAULTS, MAIL_FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sandbox.deployment import Deployment, Outcome, Step
    from sandbox.senders import Row
    from sandbox.world.client import World

ROOT = Path(__file__).resolve().parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 refused or failed, 2 wrong usage."""
    options = _parser().parse_args(argv)
    # SIGTERM ends as Ctrl-C does: what was started is ended on the way out.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupted)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        return command(options)
    except (BlockingIOError, SandboxError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        _end_engine(options.folder)
        goes_on = "; the next `make up` goes on from here" if command is up else ""
        print(f"\ninterrupted{goes_on}", file=sys.stderr)
        return 130


def _interrupted(*_: object) -> None:
    # The Automation API's threads complain of the streams that end under them; that is no news then.
    threading.excepthook = lambda _: None
    warnings.simplefilter("ignore")
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("MTA_STS_SANDBOX") or ROOT / ".sandbox"),
        help="where this sandbox lives (default: .sandbox, or the variable MTA_STS_SANDBOX); two folders are two "
        "sandboxes",
    )
    parser.add_argument("--stack", default="sandbox", help="which stacks/Pulumi.STACK.yaml is deployed")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, text in (
        (up, "preview, stop there if it refuses; update, check, deliver"),
        (preview, "show what `up` would change, and change nothing"),
        (check, "run `mta-sts check` on the domains of the stack, as they are published in the sandbox"),
        (deliver, "check what is published, and let every sender deliver once more"),
        (advance, "let time pass for everything in the sandbox"),
        (where, "show where the sandbox's servers listen"),
        (fault, "let something misbehave from now on: a host, a name, or calls of a cloud's API"),
        (mend, "end every fault"),
        (destroy, "run `pulumi destroy` on the sandbox's stack"),
        (review, "let `mta-sts review` judge real plans: of programs in usual styles, and of our component"),
        (walk, "take a domain from testing to enforce on evidence, each step shown and checked, in a world of its own"),
        (down, "end the sandbox's processes and throw its world and state away (no `pulumi destroy`)"),
    ):
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        if run is up:
            command.add_argument("--skip-preview", action="store_true", help="as of `pulumi up`: update at once")
        if run is fault:
            _add_fault_arguments(command)
        if run is advance:
            command.add_argument("seconds", type=int, help="how far, in seconds")
        if run is review:
            command.add_argument("--write", type=Path, metavar="FOLDER", help="write each plan and its comment there")
    return parser


def up(options: argparse.Namespace) -> int:
    """Preview, stop there if it refuses; then update, check and deliver."""
    with _world(options) as world:
        deployment = _deployment(options, world)
        planned = None
        if not options.skip_preview:
            _say("Previewing")
            planned = deployment.preview()
            if not planned.ok:
                return _refused("The preview refuses this change; nothing was touched", planned)
            _say(f"Planned: {planned.summary()}")
            _warn(planned)
        if planned is None or planned.changes:
            updated = deployment.up(on_event=_progress(planned))
            if not updated.ok:
                return _failed(updated, planned)
            _say(f"Done: {updated.summary(done=True)}")
        code = _deliver(options, world)
        world.detach()
    return code


def preview(options: argparse.Namespace) -> int:
    """Show the engine's own difference between what stands and what is declared."""
    with _world(options) as world:
        planned = _deployment(options, world).preview(on_output=_print_line, diff=True)
        world.detach()
        _warn(planned)
        return 0 if planned.ok else _refused("The preview refuses this change", planned)


def deliver(options: argparse.Namespace) -> int:
    """Check what is published, and let every sender deliver one mail to each domain."""
    with _world(options) as world:
        code = _deliver(options, world)
        world.detach()
    return code


def check(options: argparse.Namespace) -> int:
    """Run `mta-sts check --stack` with what leads into the world."""
    from mta_sts.cli import main as run  # noqa: PLC0415

    with _world(options) as world:
        world.detach()
        ports = options.folder / "ports.json"
        ports.write_text(json.dumps(world.port_map(), indent=1), encoding="utf-8")
        places = world.endpoints
        resolver = f"{places.dns['address']}:{places.dns['port']}"
        stack = ROOT / "stacks" / f"Pulumi.{options.stack}.yaml"
        reach = ("--resolver", resolver, "--ca-file", places.ca_file, "--port-map", str(ports))
        return run(["check", "--stack", str(stack), *reach])


def advance(options: argparse.Namespace) -> int:
    """Let time pass for everything in the sandbox at once."""
    with _world(options) as world:
        world.advance(options.seconds)
        world.detach()
    _say(f"{options.seconds} seconds have passed")
    return 0


def where(options: argparse.Namespace) -> int:
    """Show where the servers listen, and how to ask them."""
    with _world(options) as world:
        places = world.endpoints
        world.detach()
    edge = places.edge["127.0.0.1"]
    _say(f"DNS            dig @127.0.0.1 -p {places.dns['port']} TXT _mta-sts.example.com")
    url = "https://mta-sts.example.com/.well-known/mta-sts.txt"
    _say(f"HTTPS edge     curl --cacert {places.ca_file} --connect-to ::127.0.0.1:{edge} {url}")
    _say(f"AWS            {places.aws}")
    _say(f"Cloudflare     {places.cloudflare}")
    for host, ports in places.mx.items():
        _say(f"MX {host:45} 127.0.0.1:{ports['127.0.0.1']}")
    return 0


def fault(options: argparse.Namespace) -> int:
    """Let something misbehave until `mend`, `down`, or the end of the world's process."""
    with _world(options) as world:
        hosts = world.endpoints.mx
        if options.place == "mail" and options.name not in hosts:
            raise SandboxError(f"no MX host {options.name} here; there are {', '.join(hosts)}")
        world.fault(options.place, options.name, options.kind)
        world.detach()
    _say(f"{options.name}: {options.kind} from now on; `python -m sandbox mend` ends it")
    return 0


def _add_fault_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("place", choices=("mail", "edge", "dns", "api"))
    command.add_argument("name", help="an MX host, a policy host, a name in DNS, or a pattern of calls")
    kinds = {"mail": MAIL_FAULTS, "edge": EDGE_FAULTS, "dns": DNS_FAULTS, "api": API_FAULTS}
    told = "; ".join(f"{place}: {', '.join(known)}" for place, known in kinds.items())
    command.add_argument("kind", help=f"what is wrong. {told}")


def mend(options: argparse.Namespace) -> int:
    """End every fault."""
    with _world(options) as world:
        world.clear_faults()
        world.detach()
    _say("Every fault has ended")
    return 0


def destroy(options: argparse.Namespace) -> int:
    """Delete everything that the stack has made."""
    with _world(options) as world:
        deployment = _deployment(options, world)
        published: dict[str, Any] = deployment.outputs()
        gone = deployment.destroy(on_event=_progress())
        world.detach()
    if gone.ok:
        _say(f"Done: {gone.summary(done=True)}. {_AFTER_DESTROY}")
        return 0
    said = _PROTECTED.sub(r"\1 is protected", gone.errors)
    print(f"\nThe deletion stopped at {_stopped_at(gone)}:\n{said}", file=sys.stderr)
    print(f"Deleted: {', '.join(step.name for step in _done(gone)) or 'nothing'}", file=sys.stderr)
    print(_AFTER_DESTROY, file=sys.stderr)
    for domain, output in published.items():
        when = output["removable_from"] if isinstance(output, dict) else "now"
        if when != "now":
            print(f"{domain} stays while senders may hold its policy: {when}", file=sys.stderr)
    return 1


_AFTER_DESTROY = (
    "MX records that were declared stay in DNS: their domains' `adopt: true` takes them in again, `make down` throws "
    "the whole sandbox away"
)
_PROTECTED = re.compile(r'resource "\S+::(\S+)" cannot be deleted\s+because it is protected[^"]*? state unprotect \S+')
"""The engine's words, with a way out that would take the protection off while senders need it."""


def walk(options: argparse.Namespace) -> int:
    """Go from testing to enforce on evidence, in a temporary folder that no other sandbox knows."""
    import tempfile  # noqa: PLC0415

    from sandbox.walk import UnexpectedError, take_walk  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="mta-sts-walk-") as name:
        options.folder = Path(name) / "sandbox"  # what an interruption ends
        try:
            take_walk(Path(name), _say)
        except UnexpectedError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("\ninterrupted; nothing of the walk is left", file=sys.stderr)
            return 130
        finally:
            _end_engine(options.folder)
    _say("\nEvery step went as it should")
    return 0


def review(options: argparse.Namespace) -> int:
    """Record plans in a temporary folder that no other sandbox knows, and show what is said of them."""
    import tempfile  # noqa: PLC0415

    from sandbox.review import UnexpectedError, show  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="mta-sts-review-") as name:
        try:
            show(Path(name), _say, options.write)
        except UnexpectedError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        finally:
            for folder in filter(Path.is_dir, Path(name).iterdir()):
                _end_engine(folder)
    return 0


def _end_engine(folder: Path) -> None:
    from sandbox.deployment import end_orphans  # noqa: PLC0415

    end_orphans(folder)


def down(options: argparse.Namespace) -> int:
    """End the processes and remove the folder; the last time-line stays."""
    from sandbox.world.client import World  # noqa: PLC0415

    folder: Path = options.folder.resolve()
    if not folder.exists() or [entry.name for entry in folder.iterdir()] == ["last-timeline.jsonl"]:
        _say("No sandbox here")
        return 0
    _end_engine(folder)
    World.stop_running(folder)
    timeline = folder / "timeline.jsonl"
    if timeline.exists():
        timeline.replace(folder / "last-timeline.jsonl")
    for entry in folder.iterdir():
        if entry.name == "last-timeline.jsonl":
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    _say(f"The sandbox is gone; its last time-line is {folder / 'last-timeline.jsonl'}")
    return 0


def _world(options: argparse.Namespace) -> World:
    from sandbox.world.client import World  # noqa: PLC0415

    if options.run not in (up, preview) and not (options.folder / "clock.json").exists():
        raise SandboxError(f"there is no sandbox in {options.folder}; `make up` makes one")
    return World(options.folder)


def _deployment(options: argparse.Namespace, world: World) -> Deployment:
    from sandbox.deployment import Deployment  # noqa: PLC0415

    return Deployment(world, stack=options.stack)


def _deliver(options: argparse.Namespace, world: World) -> int:
    """Check each domain, let the senders and the witness at it, and print the closing table."""
    from sandbox.check import problems  # noqa: PLC0415
    from sandbox.senders import deliver_all  # noqa: PLC0415
    from sandbox.witness import ask  # noqa: PLC0415

    domains = _published(world)
    _say(f"Checking {len(domains)} domains and delivering to each")
    found = {domain: problems(world, domain) for domain in domains}
    rows = deliver_all(world, domains, options.folder / "senders.json")
    testimony = ask(world, dict.fromkeys(domains))
    _table(domains, rows, {domain: said.verdict for domain, said in testimony.items()}, found)
    wrong = [f"{domain}: {problem}" for domain in domains for problem in found[domain]]
    wrong += [_undelivered(row) for row in rows if row.delivery.outcome != "delivered"]
    for line in dict.fromkeys(wrong):
        print(line, file=sys.stderr)
    unresolved = any(said.verdict != "valid" for said in testimony.values())
    return 1 if wrong or unresolved else 0


def _published(world: World) -> list[str]:
    """Return the domains that show an id now; one that was taken off shows none."""
    shown = {event["domain"]: event["value"] for event in world.timeline() if event["kind"] == "txt"}
    return sorted(domain for domain, value in shown.items() if value)


def _table(domains: Sequence[str], rows: Sequence[Row], verdicts: dict[str, str], found: dict[str, list[str]]) -> None:
    """Print what each sender did: a plain mark, and the id where it has changed."""
    senders = list(dict.fromkeys(row.sender for row in rows))
    by_place = {(row.domain, row.sender): row for row in rows}
    _say("")
    titles = ["domain", "mode", "id", "check", *senders, "postfix-mta-sts-resolver"]
    lines = [titles]
    for domain in domains:
        first = by_place[domain, senders[0]].delivery
        cells = [_arrival(by_place[domain, sender]) for sender in senders]
        check = "wrong" if found[domain] else "good"
        lines.append([domain, first.mode, _short(first.policy_id), check, *cells, verdicts[domain]])
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        _say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    _say("")


def _short(identifier: str) -> str:
    """Return an id's beginning, which is of the bytes, and its end, which is of this publication."""
    return f"{identifier[:6]}…{identifier[-6:]}" if identifier else ""


def _undelivered(row: Row) -> str:
    delivery = row.delivery
    why = delivery.reason
    if delivery.skipped:
        why = f"not listed in policy {_short(delivery.policy_id)}, or without valid TLS: {', '.join(delivery.skipped)}"
    return f"{row.domain}: {delivery.outcome}: {why}"


def _arrival(row: Row) -> str:
    delivery = row.delivery
    followed = row.held_before and delivery.policy_id not in ("", row.held_before)
    return f"{delivery.outcome}{' (followed)' if followed else ''}"


def _progress(planned: Outcome | None = None) -> Callable[[Outcome, Any], None]:
    """Return a listener that shows each change as the engine begins it, and what need not change after all."""
    open_steps = Counter(step.urn for step in planned.changes if step.counts) if planned else Counter[str]()
    expected, done = open_steps.total(), 0

    def tell(outcome: Outcome, event: Any) -> None:
        nonlocal done
        if event.resource_pre_event is None:
            return
        step = outcome.steps[-1]
        steps = open_steps.pop(step.urn, 0) if step.op == "same" else int(step.counts)
        if not steps:
            return
        done += steps
        count = f"[{done}/{expected}] " if expected else ""
        _say(f"  {count}{step.op} {step.name}")

    return tell


def _warn(outcome: Outcome) -> None:
    """Show what goes on, and deserves a look: what is held back, and until when."""
    for warning in dict.fromkeys(outcome.warnings):
        print(f"warning: {warning}", file=sys.stderr)


def _refused(text: str, outcome: Outcome) -> int:
    print(f"{text}:\n{outcome.errors}", file=sys.stderr)
    return 1


def _failed(outcome: Outcome, planned: Outcome | None = None) -> int:
    """Say what stopped, what was done and stays, and what of the plan was not begun."""
    print(f"\nThe update stopped at {_stopped_at(outcome)}:\n{outcome.errors}", file=sys.stderr)
    print(f"Done, and stays: {_steps(_done(outcome))}", file=sys.stderr)
    if planned:
        begun = {step.urn for step in outcome.changes}
        print(f"Not begun: {_steps([step for step in planned.changes if step.urn not in begun])}", file=sys.stderr)
    print("Run it again to go on from there", file=sys.stderr)
    return 1


def _stopped_at(outcome: Outcome) -> str:
    return ", ".join(urn.rpartition("::")[2] for urn in outcome.failed) or "the program"


def _done(outcome: Outcome) -> list[Step]:
    return [step for step in outcome.changes if step.counts and step.urn not in outcome.failed]


def _steps(steps: Sequence[Step]) -> str:
    return ", ".join(f"{step.op} {step.name}" for step in steps) or "nothing"


def _print_line(text: str) -> None:
    _say(text.removesuffix("\n"))


def _say(text: str) -> None:
    put_out(f"{text}\n")  # what is under way goes on when nobody reads any more


if __name__ == "__main__":
    sys.exit(main())
