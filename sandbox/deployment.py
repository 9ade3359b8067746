"""Drive the real engine: a program, a stack, and the sandbox's clouds."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mta_sts.network_options import Network
from sandbox import SandboxError
from sandbox.engine import find_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pulumi import automation

    from sandbox.world.client import World

ROOT = Path(__file__).resolve().parent.parent
FOLDER_VARIABLE = "MTA_STS_SANDBOX"
"""Names the folder of the sandbox that a process belongs to."""
_LAUNCHERS = Path(__file__).resolve().parent / "launchers"
_FROM_THE_PERSON = ("HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PASSPHRASE = "sandbox"  # noqa: S105  there is nothing to protect: the state is thrown away
_NO_CHANGE = ("same", "read", "refresh")
_END_LIMIT = 5.0
_STATE_VERSION = 3  # of the engine's state files


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the engine: what it did to which resource."""

    op: str
    urn: str
    type: str
    old: dict[str, Any]
    new: dict[str, Any]
    changed: tuple[str, ...]

    @property
    def name(self) -> str:
        """The resource's name."""
        return self.urn.rpartition("::")[2]

    @property
    def counts(self) -> bool:
        """Whether it is a call of its own: the engine adds providers, and a `replace` to what a replacement takes."""
        return self.op not in (*_NO_CHANGE, "replace") and not self.type.startswith("pulumi:providers:")


@dataclass(slots=True)
class Outcome:
    """What the engine planned or did, in its order, and what it had to say."""

    ok: bool
    steps: list[Step] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    diagnostics: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    @property
    def changes(self) -> list[Step]:
        """The steps that change something."""
        return [step for step in self.steps if step.op not in _NO_CHANGE]

    def summary(self, *, done: bool = False) -> str:
        """Return the counts of resources in words; one that is replaced counts once."""
        kinds = {"create-replacement": "replace", "delete-replaced": ""}
        counts = Counter(kinds.get(step.op, step.op) for step in self.changes if step.counts)
        said = [
            f"{count} {op}{'' if op[-1] == 'e' else 'e'}d" if done else f"{count} to {op}"
            for op, count in sorted(counts.items())
            if op
        ]
        return ", ".join(said) or "no change"

    @property
    def errors(self) -> str:
        """Every error that the engine reported, once."""
        return "\n".join(dict.fromkeys(self.diagnostics))


class Deployment:
    """A stack of the sandbox. `program` is a function, or a folder whose `__main__.py` is run.

    With `policy_pack`, a folder with a PulumiPolicy.yaml, every preview and update is judged by it; `environment` are
    variables for the engine, beside those of the sandbox. Without `outputs` those of the program are not read after an
    update.
    """

    def __init__(
        self,
        world: World,
        program: Path | Callable[[], None] = ROOT,
        *,
        stack: str = "sandbox",
        config: Path | None = None,
        policy_pack: Path | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
        outputs: bool = True,
    ) -> None:
        from pulumi import automation, log  # noqa: PLC0415  heavy

        # After a refusal the SDK's language server speaks to an engine that is gone, and logs that with a traceback.
        logging.getLogger("grpc._server").disabled = True
        # The SDK tells the engine of everything that it does for a resource, by a call each; here nobody reads that.
        log.debug = _say_nothing
        self._world = world
        self._judged_by = {"policy_packs": [str(policy_pack)]} if policy_pack is not None else {}
        folder = world.folder
        for name in ("backend", "pulumi-home", "work"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        engine = _engine()
        self._environment = _environment(folder, engine, world) | dict(environment)
        # Everything that the engine and the program read comes from here, nothing of the person's clouds.
        os.environ.clear()
        os.environ.update(self._environment)
        source = program if isinstance(program, Path) else ROOT
        self._program = (lambda: _run_main(source)) if isinstance(program, Path) else program
        work = folder / "work"
        with _only_one(folder):
            _copy_project(source, work, stack, config)
            command = automation.PulumiCommand(root=str(_command_root(folder, engine)), skip_version_check=True)
            self._stack = automation.create_or_select_stack(
                stack,
                project_name=_project_name(work),
                program=self._program,
                opts=automation.LocalWorkspaceOptions(
                    work_dir=str(work), pulumi_home=str(folder / "pulumi-home"), pulumi_command=command
                ),
            )
        if not outputs:
            self._stack.workspace.stack_outputs = lambda stack_name: {}  # type: ignore[method-assign]  # noqa: ARG005

    def preview(self, **options: Any) -> Outcome:
        """Plan, and change nothing."""
        return self._run(self._stack.preview, options | self._judged_by)

    def preview_json(self, file: Path, **options: Any) -> Outcome:
        """Plan, and write the engine's own `pulumi preview --json --show-sames` to a file."""
        lines: list[str] = []
        os.environ["PULUMI_OPTION_SHOW_SAMES"] = "true"  # the Automation API has no name for it
        try:
            outcome = self.preview(json=True, on_output=lines.append, **options)
        finally:
            del os.environ["PULUMI_OPTION_SHOW_SAMES"]
        file.write_text("\n".join(lines), encoding="utf-8")
        return outcome

    def up(self, **options: Any) -> Outcome:
        """Make what is declared."""
        return self._run(self._stack.up, options | self._judged_by)

    def refresh(self, **options: Any) -> Outcome:
        """Read what stands in the clouds into the state."""
        return self._run(self._stack.refresh, options)

    def destroy(self, **options: Any) -> Outcome:
        """Delete everything of the stack."""
        return self._run(self._stack.destroy, options)

    def export_state(self) -> dict[str, Any]:
        """Return the stack's state."""
        return dict(self._stack.export_stack().deployment or {})

    def import_state(self, state: dict[str, Any]) -> None:
        """Put a state in the place of the stack's own."""
        from pulumi import automation  # noqa: PLC0415

        self._stack.import_stack(automation.Deployment(version=_STATE_VERSION, deployment=state))

    def resources(self) -> list[dict[str, Any]]:
        """Return the resources in the stack's state."""
        found: list[dict[str, Any]] = self.export_state().get("resources") or []
        return found

    def outputs(self) -> dict[str, Any]:
        """Return what the program has exported."""
        return {name: output.value for name, output in self._stack.outputs().items()}

    def _run(self, operation: Callable[..., Any], options: dict[str, Any]) -> Outcome:
        from pulumi import automation  # noqa: PLC0415

        outcome = Outcome(ok=True)
        told: Callable[[Outcome, automation.events.EngineEvent], None] | None = options.pop("on_event", None)

        def listen(event: automation.events.EngineEvent) -> None:
            _note(outcome, event)
            if told is not None:
                told(outcome, event)

        options.setdefault("color", "never")
        try:
            with _only_one(self._world.folder):
                end_orphans(self._world.folder)
                self._clear_locks()
                use_outside(self._world)
                result = operation(on_event=listen, **options)
            outcome.outputs = {name: output.value for name, output in getattr(result, "outputs", {}).items()}
        except automation.CommandError as error:
            outcome.ok = False
            # What the command itself refuses, such as changes where none were expected, is no event.
            outcome.diagnostics += [line for line in _refusals(str(error)) if line not in outcome.errors]
            if not outcome.diagnostics:
                outcome.diagnostics.append(str(error))
        except BlockingIOError:
            raise
        except Exception as error:  # noqa: BLE001  what the program itself raised
            outcome.ok = False
            outcome.diagnostics.append(_in_words(str(error)))
        return outcome

    def _clear_locks(self) -> None:
        """Remove the locks of runs that are no more: `_only_one` has made sure that none goes on."""
        for lock in (self._world.folder / "backend" / ".pulumi" / "locks").rglob("*.json"):
            lock.unlink()


@cache
def _engine() -> Path:
    return find_engine()  # which runs `pulumi version`


def _say_nothing(*_: object, **__: object) -> None:
    """Take the place of a log."""


@contextlib.contextmanager
def sparing(world: World) -> Iterator[dict[str, str]]:
    """Run the providers of a world; with these variables an engine uses them, and starts none of its own.

    It also writes its state once, at the end, not around every step. For a stack of many updates that nobody kills: a
    provider takes longer to start than most updates take it.
    """
    names = ("aws", "cloudflare")
    with contextlib.ExitStack() as running:
        ports = []
        for name in names:
            command = [sys.executable, "-m", f"sandbox.providers.{name}"]
            environment = {**world.environment(), "PATH": os.defpath, "PYTHONPATH": str(ROOT)}
            started = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
            process = running.enter_context(started)
            running.callback(process.terminate)
            ports.append(process.stdout.readline().strip() if process.stdout else "")
        yield {
            "PULUMI_DEBUG_PROVIDERS": ",".join(map(":".join, zip(names, ports, strict=True))),
            "PULUMI_EXPERIMENTAL": "true",
            "PULUMI_SKIP_CHECKPOINTS": "true",
        }


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; raises BlockingIOError where another process has it. It ends with the process."""
    with (folder / "lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(f"another run deploys in {folder}; wait for it, or use another --folder") from None
        yield


def _note(outcome: Outcome, event: automation.events.EngineEvent) -> None:
    step = event.resource_pre_event
    if step is not None:
        metadata = step.metadata
        detail = metadata.detailed_diff or {}
        outcome.steps.append(
            Step(
                str(getattr(metadata.op, "value", metadata.op)),
                metadata.urn,
                metadata.type,
                dict((metadata.old.inputs if metadata.old else None) or {}),
                dict((metadata.new.inputs if metadata.new else None) or {}),
                tuple(detail) or tuple(metadata.diffs or ()),
            )
        )
    if event.res_op_failed_event is not None:
        outcome.failed.append(event.res_op_failed_event.metadata.urn)
    policy = event.policy_event
    if policy is not None and policy.enforcement_level == "mandatory":
        outcome.diagnostics.append(f"{policy.policy_name}: {policy.message.strip()}")
    diagnostic = event.diagnostic_event
    if diagnostic is not None and diagnostic.severity == "error" and not _FAILED.fullmatch(diagnostic.message.strip()):
        outcome.diagnostics.append(_in_words(diagnostic.message))
    # That plug-ins come from PATH is how the sandbox is made, and no news.
    if diagnostic is not None and diagnostic.severity == "warning" and "from $PATH" not in diagnostic.message:
        outcome.warnings.append(_in_words(diagnostic.message))


def use_outside(world: World) -> None:
    """Give the components the sandbox's clock, its DNS, and the ports of its servers."""
    from pulumi_mta_sts.outside import Outside, resolve, use  # noqa: PLC0415  heavy

    server = world.endpoints.dns
    resolver = Network([(server["address"], server["port"])]).resolver()

    async def wait(seconds: float) -> None:
        world.advance(seconds)

    async def at(name: str, ports: Mapping[str, int]) -> list[tuple[str, int]]:
        return [(address, ports[address]) for address in await resolve(name, resolver) if address in ports]

    use(
        Outside(
            now=world.now,
            wait=wait,
            addresses=lambda name: at(name, world.endpoints.edge),
            mail_addresses=lambda host: at(host, world.endpoints.mx.get(host, {})),
            ca_file=Path(world.endpoints.ca_file),
        )
    )


def _in_words(message: str) -> str:
    """Return an error without the Python traceback that the Automation API adds to what a program raises."""
    text, _, _ = message.partition("\nTraceback (most recent call last)")
    for prefix in ("an unhandled error occurred: ", "python inline source runtime error: "):
        text = text.removeprefix(prefix)
    return text.strip()


_FAILED = re.compile("(?:preview|update|refresh|destroy) failed")
"""What the engine adds to what it was."""
_REFUSED = re.compile(rf"^ *error: (?!{_FAILED.pattern})(.+)$", re.MULTILINE)


def _refusals(said: str) -> list[str]:
    """Return the errors of a command that failed; of each only the first line can be told."""
    return [_in_words(line) for line in _REFUSED.findall(said.rpartition("stderr:")[2])]


def _run_main(source: Path) -> None:
    """Run a program as the language host would: its folder first on the path."""
    sys.path.insert(0, str(source))
    try:
        runpy.run_path(str(source / "__main__.py"), run_name="__main__")
    finally:
        sys.path.remove(str(source))


def _environment(folder: Path, engine: Path, world: World) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _FROM_THE_PERSON if name in os.environ}
    return {
        **kept,
        **world.environment(),
        "PATH": os.pathsep.join([str(_LAUNCHERS), str(engine.parent), os.defpath]),
        "PYTHONPATH": str(ROOT),
        "MTA_STS_SANDBOX_PYTHON": sys.executable,
        FOLDER_VARIABLE: str(folder),
        "PULUMI_HOME": str(folder / "pulumi-home"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'backend'}",
        "PULUMI_CONFIG_PASSPHRASE": _PASSPHRASE,
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_AUTOMATION_API_SKIP_VERSION_CHECK": "true",
    }


def _command_root(folder: Path, engine: Path) -> Path:
    """Return a folder with `bin/pulumi`, as the Automation API wants it."""
    link = folder / "engine" / "bin" / "pulumi"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(engine)
    return folder / "engine"


def _copy_project(source: Path, work: Path, stack: str, config: Path | None) -> None:
    """Copy project and stack file: the engine writes a salt into the stack file, which must not reach the tree."""
    project = (source / "Pulumi.yaml").read_text(encoding="utf-8").replace("    virtualenv: .venv\n", "")
    (work / "Pulumi.yaml").write_text(project.replace("  options:\n", ""), encoding="utf-8")
    stacks = work / "stacks"
    stacks.mkdir(exist_ok=True)
    given = config or source / "stacks" / f"Pulumi.{stack}.yaml"
    if not given.is_file():
        there = ", ".join(sorted(file.name.split(".")[1] for file in given.parent.glob("Pulumi.*.yaml"))) or "none"
        raise SandboxError(f"there is no stack file {given}; the stacks there are: {there}")
    shutil.copy(given, stacks / f"Pulumi.{stack}.yaml")


def _project_name(work: Path) -> str:
    import yaml  # noqa: PLC0415

    return str(yaml.safe_load((work / "Pulumi.yaml").read_text(encoding="utf-8"))["name"])


def end_orphans(folder: Path) -> None:
    """End the engine of a killed run of this folder: it runs by the folder's own link. Its providers end with it."""
    engine = str(folder.resolve() / "engine")
    for pid in _running(engine):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_LIMIT
    while (left := _running(engine)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def engine_processes(folder: Path) -> list[int]:
    """Return the engines of a folder that run: each runs by the folder's own link."""
    return _running(str(folder.resolve() / "engine"))


def _running(command: str) -> list[int]:
    """Return the processes whose command begins so."""
    # Whole lines, however wide the person's terminal is.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    try:
        listing = subprocess.run(
            ["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=False, env=environment
        )
    except FileNotFoundError:
        raise SandboxError("the command `ps` is missing; install it (Debian's package procps)") from None
    rows = (line.strip().partition(" ") for line in listing.stdout.splitlines())
    return [int(pid) for pid, _, shown in rows if shown.strip().startswith(command)]
