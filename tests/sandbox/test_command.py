"""`python -m sandbox`, as `make up` and its kin call it: from an empty folder to mail delivered, and away again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mta_sts import resolve_domain
from mta_sts.sender import Delivery
from mta_sts.sender import Outcome as Became
from mta_sts.stack_file import declared_domains
from sandbox import SandboxError
from sandbox import __main__ as commands
from sandbox.__main__ import _failed, _progress, _published, _undelivered, _warn, main
from sandbox.deployment import Outcome, Step, _note, _refusals, engine_processes
from sandbox.senders import Row
from sandbox.witness import ask
from sandbox.world.client import World

ROOT = Path(__file__).parents[2]
STACK = ROOT / "stacks" / "Pulumi.sandbox.yaml"


class Command:
    """The commands on one folder, as a person types them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Begin a command."""
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox", "--folder", str(self.folder), *words],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *words: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it said."""
        process = self.begin(*words)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said


@pytest.fixture
def command(tmp_path: Path) -> Any:
    """Return commands on a folder of their own, which nothing outlives."""
    commands = Command(tmp_path / "sandbox")
    yield commands
    commands.run("down")


def tree() -> str:
    """Return what git says of the checkout."""
    return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.engine
def test_the_committed_stack_goes_up_again_and_down(command: Command) -> None:
    """Interrupted, it leaves no process and goes on; then nothing is to change; each domain resolves as declared."""
    before = tree()
    process = command.begin("up")
    assert process.stdout is not None
    assert any("create" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert (130, True) == (process.returncode, "goes on from here" in said)
    assert [] == engine_processes(command.folder)
    assert not [line for line in _processes() if str(command.folder) in line]

    code, said = command.run("up")
    assert 0 == code, said
    code, said = command.run("up")
    assert (0, True) == (code, "Planned: no change" in said), said

    declared = [resolve_domain(domain) for domain in declared_domains(STACK.read_text(encoding="utf-8"))]
    world = World(command.folder)
    testimony = ask(world, dict.fromkeys(config.domain for config in declared))
    for config in declared:
        told = testimony[config.domain]
        policy = config.policy
        assert (policy.mode, set(policy.mx), policy.max_age) == (told.mode, set(told.mx), told.max_age)
        assert config.domain in said
    events = len(world.timeline())

    code, said = command.run("down")
    assert 0 == code, said
    assert ["last-timeline.jsonl"] == [file.name for file in command.folder.iterdir()]
    assert events == len((command.folder / "last-timeline.jsonl").read_text(encoding="utf-8").splitlines())
    assert not [line for line in _processes() if str(command.folder) in line]
    assert before == tree()


def _processes() -> list[str]:
    listing = subprocess.run(["ps", "-axww", "-o", "command="], capture_output=True, text=True, check=True).stdout
    return [line for line in listing.splitlines() if "ps -axww" not in line]


def test_a_domain_that_was_taken_off_is_not_delivered_to() -> None:
    """Only what shows an id now is looked at: a removed domain is no fault."""

    class Past:
        def timeline(self) -> list[dict[str, Any]]:
            return [
                {"domain": domain, "kind": kind, "value": value}
                for domain, kind, value in (
                    ("gone.example", "txt", "v=STSv1; id=1;"),
                    ("here.example", "txt", "v=STSv1; id=1;"),
                    ("none.example", "mx", ["mx.none.example"]),
                    ("gone.example", "txt", None),
                    ("here.example", "txt", "v=STSv1; id=2;"),
                )
            ]

    assert ["here.example"] == _published(Past())  # type: ignore[arg-type]


def step(op: str, name: str) -> Step:
    """Return a step of the engine on a resource of a name."""
    return Step(op, f"urn:pulumi:sandbox::mta-sts::a:type:Of::{name}", "a:type:Of", {}, {}, ())


def test_a_stopped_update_says_what_was_made_and_what_was_not_begun(capsys: pytest.CaptureFixture[str]) -> None:
    """What failed and why; what stands all the same; what of the plan is left; and that it can be run again."""
    planned = [step("same", "zone"), step("create", "bucket"), step("update", "sts-record"), step("create", "mx")]
    record = planned[2]
    stopped = Outcome(ok=False, steps=planned[:3], failed=[record.urn], diagnostics=["429 Too Many Requests"])
    assert 1 == _failed(stopped, Outcome(ok=True, steps=planned))
    assert [
        "The update stopped at sts-record:",
        "429 Too Many Requests",
        "Done, and stays: create bucket",
        "Not begun: create mx",
        "Run it again to go on from there",
    ] == capsys.readouterr().err.strip().splitlines()


def test_a_program_that_stops_before_its_first_resource_made_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """No resource failed, so the program is named, and the whole plan is left."""
    planned = Outcome(ok=True, steps=[step("create", "bucket")])
    assert 1 == _failed(Outcome(ok=False, diagnostics=["no such zone"]), planned)
    said = capsys.readouterr().err
    assert "stopped at the program:\nno such zone\nDone, and stays: nothing\nNot begun: create bucket\n" in said


def test_the_count_ends_where_the_plan_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A replacement is two calls and one resource; what need not change after all counts when that is seen."""
    provider = replace(step("create", "default"), type="pulumi:providers:aws")
    anew = [step(op, "certificate") for op in ("create-replacement", "replace", "delete-replaced")]
    planned = Outcome(ok=True, steps=[provider, step("create", "a"), *anew[:2], step("update", "record"), anew[2]])
    assert "1 to create, 1 to replace, 1 to update" == planned.summary()
    outcome = Outcome(ok=True)
    tell = _progress(planned)
    for one in (step("same", "zone"), step("create", "a"), *anew[:2], step("same", "record"), anew[2]):
        outcome.steps.append(one)
        tell(outcome, SimpleNamespace(resource_pre_event=one))
    assert [
        "  [1/4] create a",
        "  [2/4] create-replacement certificate",
        "  [3/4] same record",
        "  [4/4] delete-replaced certificate",
    ] == capsys.readouterr().out.splitlines()
    assert "1 created, 1 replaced" == outcome.summary(done=True)


def test_a_deletion_that_stops_says_what_stays_and_until_when(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the engine's way out, which takes the protection off while senders need it."""
    record = step("delete", "example.com-sts-record")
    protected = (
        f'resource "{record.urn}" cannot be deleted\nbecause it is protected. To unprotect the resource, either remove '
        f"the `protect` flag from the resource in your Pulumi program and run `pulumi up`, or use the command:\n"
        f"`pulumi state unprotect '{record.urn}'`"
    )

    class Stopping:
        def outputs(self) -> dict[str, Any]:
            when = {"a.example": "now", "example.com": "2026-12-01T00:00+00:00"}
            return {"policy_bucket": "b"} | {domain: {"removable_from": date} for domain, date in when.items()}

        def destroy(self, **_: Any) -> Outcome:
            return Outcome(ok=False, steps=[step("delete", "a"), record], failed=[record.urn], diagnostics=[protected])

    monkeypatch.setattr(commands, "_world", lambda _: contextlib.nullcontext(SimpleNamespace(detach=lambda: None)))
    monkeypatch.setattr(commands, "_deployment", lambda *_: Stopping())
    assert 1 == commands.destroy(SimpleNamespace())  # type: ignore[arg-type]
    assert [
        "The deletion stopped at example.com-sts-record:",
        "example.com-sts-record is protected",
        "Deleted: a",
        commands._AFTER_DESTROY,
        "example.com stays while senders may hold its policy: 2026-12-01T00:00+00:00",
    ] == capsys.readouterr().err.strip().splitlines()


def test_a_fault_of_a_host_that_is_not_there_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error is named with the hosts that there are."""
    known = SimpleNamespace(endpoints=SimpleNamespace(mx={"mx1.example.com": {}}))
    monkeypatch.setattr(commands, "_world", lambda _: contextlib.nullcontext(known))
    with pytest.raises(SandboxError, match=r"no MX host mx1\.example here; there are mx1\.example\.com"):
        commands.fault(SimpleNamespace(place="mail", name="mx1.example", kind="expired"))  # type: ignore[arg-type]


def test_what_the_engine_refuses_is_said_once() -> None:
    """Its own words around the program's are left out, and so is that it failed."""
    told = {"severity": "error", "message": "update failed\n"}
    outcome = Outcome(ok=False)
    nothing = dict.fromkeys(("resource_pre_event", "res_op_failed_event", "policy_event"))
    _note(outcome, SimpleNamespace(**nothing, diagnostic_event=SimpleNamespace(**told)))  # type: ignore[arg-type]
    assert [] == outcome.diagnostics
    said = "code: 255\nstderr: error: an unhandled error occurred: MTA-STS: 1 problem(s)\n error: preview failed\n"
    assert ["MTA-STS: 1 problem(s)"] == _refusals(said)


def test_a_mail_that_did_not_arrive_has_a_reason() -> None:
    """Which hosts the held policy keeps from use; else what the sender met."""
    refused = Delivery(Became.REFUSED, "", ("mx1.example.com",), "enforce", "abc", "", "held")
    row = Row("diligent", "example.com", "", refused)
    assert "example.com: refused: not listed in policy abc…abc, or without valid TLS: mx1.example.com" == _undelivered(
        row
    )
    none = Delivery(Became.NO_MX, reason="the domain has no MX record")
    assert "example.com: no MX: the domain has no MX record" == _undelivered(Row("lazy", "example.com", "", none))


def test_warnings_are_kept_and_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What is held back is told by warnings; that plug-ins come from PATH is no news."""
    outcome = Outcome(ok=True)
    for severity, message in (
        ("warning", "mx1.example.com is no longer declared and stays [mx-kept]\n"),
        ("warning", "using pulumi-resource-aws from $PATH at /somewhere"),
        ("info", "Waiting 720 s"),
        ("warning", "mx1.example.com is no longer declared and stays [mx-kept]\n"),
    ):
        told = SimpleNamespace(severity=severity, message=message)
        nothing = dict.fromkeys(("resource_pre_event", "res_op_failed_event", "policy_event"))
        _note(outcome, SimpleNamespace(**nothing, diagnostic_event=told))  # type: ignore[arg-type]
    _warn(outcome)
    assert "warning: mx1.example.com is no longer declared and stays [mx-kept]\n" == capsys.readouterr().err
    assert "" == outcome.errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stack", "nosuch", "preview"], "no stack file"),
        (["preview"], "no Pulumi engine"),
        (["check"], "there is no sandbox"),
        (["where"], "there is no sandbox"),
    ],
)
def test_what_a_person_can_mend_is_said_in_a_line(
    command: Command, words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a traceback, and with exit code 1: no such stack, engine, place for one, or sandbox."""
    if "engine" in said:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    code, heard = command.run(*words)
    assert (1, True, False) == (code, said in heard, "Traceback" in heard), heard


def test_processes_are_found_whatever_the_width_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long folder name is not cut; where there is no `ps`, that is said."""
    engine = tmp_path / ("a-long-name-" * 15) / "engine"
    engine.mkdir(parents=True)
    (engine / "sleep").symlink_to("/bin/sleep")
    monkeypatch.setenv("COLUMNS", "80")
    with subprocess.Popen([engine / "sleep", "60"]) as process:
        try:
            assert [process.pid] == engine_processes(engine.parent)
        finally:
            process.kill()
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "any").touch()
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert 1 == main(["--folder", str(tmp_path / "sandbox"), "down"])
