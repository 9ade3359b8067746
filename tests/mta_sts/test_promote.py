"""`mta-sts promote`: on evidence both files are written and the request is worded; short of it nothing is."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from stat import S_IMODE
from typing import TYPE_CHECKING

import pytest
import time_machine
import yaml

from mta_sts.cli import main
from mta_sts.evidence import load_evidence, write_evidence
from mta_sts.stack_file import DOMAINS
from tests.mta_sts.report_samples import failure, policy
from tests.mta_sts.test_evidence import HOST, build, clean_week, spoil

if TYPE_CHECKING:
    from collections.abc import Iterator

STACK = """\
# Production.
config:
  mta-sts:domains:
    - domain: example.com # ours
      max_age: 604800
      mx:
        - mx2.example.com
        - mx1.example.com
      reports: mailto:tls@example.com
    - domain: example.net
      mode: enforce
      mx: [mx.example.net]
"""
ENFORCED = STACK.replace("# ours\n", "# ours\n      mode: enforce\n")


@pytest.fixture(autouse=True)
def _now() -> Iterator[None]:
    with time_machine.travel(datetime(2026, 3, 9, 12, tzinfo=UTC), tick=False):
        yield


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Return a stack file, with a week of clean reports lying elsewhere."""
    (tmp_path / "in").mkdir()
    clean_week(tmp_path / "in")
    file = tmp_path / "stacks" / "Pulumi.prod.yaml"
    file.parent.mkdir()
    file.write_text(STACK, encoding="utf-8")
    return file


def promote(stack: Path, *more: str, domain: str = "example.com", reports: bool = True) -> int:
    """Run the command."""
    given = ["--reports", str(stack.parents[1] / "in"), "--trust-authserv", HOST, "--jobs", "1"] if reports else []
    return main(["promote", domain, "--stack", str(stack), *given, *more])


def untouched(stack: Path) -> bool:
    """Whether the stack's folder is as it was."""
    return stack.read_text(encoding="utf-8") == STACK and [stack] == list(stack.parent.iterdir())


def attached(stack: Path) -> Path:
    """Return where the evidence belongs."""
    return stack.parent / "evidence" / "example.com.json"


def test_on_evidence_the_stack_is_edited_and_the_evidence_attached(
    stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From reports; comments stay; the request says what was seen, for a reviewer and in Markdown."""
    assert 0 == promote(stack)
    assert ENFORCED == stack.read_text(encoding="utf-8")
    assert build(stack.parents[1] / "in") == load_evidence(attached(stack))
    out, err = capsys.readouterr()
    assert out.startswith("# Enforce MTA-STS for example.com\n")
    for words in (
        "| clean time | 2026-03-01 to 2026-03-08 |",
        "| one.example | one.example | 40 | 0 |",
        "604800",
        "| failures | none",
        "told by one.example; two.example",
        "a backup, is not tested",
    ):
        assert words in out
    assert str(attached(stack)) in err


def test_an_evidence_file_is_attached_as_it_is(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it lies in its place already; the stack may be given by its name."""
    write_evidence(build(stack.parents[1] / "in"), attached(stack))
    before = attached(stack).read_bytes()
    monkeypatch.chdir(stack.parents[1])
    assert 0 == main(["promote", "example.com", "--stack", "prod", "--evidence", str(attached(stack))])
    assert (ENFORCED, before) == (stack.read_text(encoding="utf-8"), attached(stack).read_bytes())


def test_what_was_explained_is_in_the_request(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reviewer must see it; what a sender wrote can't become markup."""
    spoil(stack.parents[1] / "in", policy(failed=2, details=[failure(sessions=2)]))
    assert 0 == promote(stack, "--explain", "certificate-expired@mx2.example.com=<b>known</b> | test host")
    out = capsys.readouterr().out
    assert "2 sessions failed" in out
    assert r"\<b\>known\</b\> \| test host" in out


def test_short_of_evidence_nothing_is_written(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every reason, and the day on which it could be enough: one max_age after the failure."""
    spoil(stack.parents[1] / "in", policy(failed=2, details=[failure(sessions=2)]))
    assert 1 == promote(stack)
    assert untouched(stack)
    out = capsys.readouterr().out
    assert "evidence.certificate-expired@mx2.example.com" in out
    assert "can be enough on 2026-03-13 at the earliest" in out


def test_evidence_about_another_body_is_told_from_what_the_stack_declares(
    stack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command has not looked at what is served; the new body needs its own time from today on."""
    evidence = stack.parents[1] / "e.json"
    write_evidence(build(stack.parents[1] / "in"), evidence)
    stack.write_text(STACK.replace("604800", "864000"), encoding="utf-8")
    assert 1 == promote(stack, "--evidence", str(evidence), reports=False)
    out = capsys.readouterr().out
    assert "what the stack file declares is testing with mx1.example.com" in out
    assert "can be enough on 2026-03-19 at the earliest" in out


def test_a_name_that_comes_from_an_anchor_is_no_obstacle(stack: Path) -> None:
    """The mode is written into the domain's own settings."""
    text = "x: &d {domain: example.com}\n" + STACK.replace("- domain: example.com # ours\n", "- <<: *d\n", 1)
    stack.write_text(text, encoding="utf-8")
    assert 0 == promote(stack)
    assert text.replace("- <<: *d\n", "- mode: enforce\n      <<: *d\n") == stack.read_text(encoding="utf-8")


def test_permissions_stay(stack: Path) -> None:
    """A stack file that others may not read stays so; the evidence file is as the umask says."""
    stack.chmod(0o600)
    before = os.umask(0o027)
    try:
        assert 0 == promote(stack)
    finally:
        os.umask(before)
    assert (0o600, 0o640) == (S_IMODE(stack.stat().st_mode), S_IMODE(attached(stack).stat().st_mode))


def test_a_reason_in_the_stack_file_is_no_evidence(stack: Path) -> None:
    """What the preview lets pass with `acknowledge` is still no promotion on evidence."""
    for file in sorted((stack.parents[1] / "in").iterdir())[6:]:
        file.unlink()
    stack.write_text(STACK.replace("# ours\n", "# ours\n      acknowledge: we know\n"), encoding="utf-8")
    assert 1 == promote(stack)


def test_thresholds_of_the_stack_file_decide(stack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as in the preview afterwards."""
    stack.write_text(STACK.replace("# ours\n", "# ours\n      thresholds: {sessions: 1000}\n"), encoding="utf-8")
    assert 1 == promote(stack)
    assert "80 successful sessions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"domain": "example.org"}, "declares example.org 0 times; it has example.com, example.net"),
        ({"domain": "example.net"}, "example.net is in enforce"),
        ({"domain": "not a name"}, "host name"),
        ({"more": ("--fixed", "x")}, "has no day"),
        ({"more": ("--evidence", "none.json"), "reports": False}, "none.json"),
        ({"more": ("--evidence", "none.json", "--vouch", "A: b"), "reports": False}, "go with --reports"),
    ],
)
def test_a_wrong_call_writes_nothing(
    stack: Path, capsys: pytest.CaptureFixture[str], arguments: dict[str, object], words: str
) -> None:
    """Exit 64, in words."""
    more = arguments.pop("more", ())
    assert 64 == promote(stack, *more, **arguments)
    assert words in capsys.readouterr().err
    assert untouched(stack)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "Pulumi.prod.yaml: No such"),
        ("config: {}", "Pulumi.prod.yaml: no stack file"),
        ("\x00", "Pulumi.prod.yaml: no stack file"),
        (STACK.replace("max_age: 604800", "max_age: week"), "max_age"),
    ],
)
def test_a_stack_file_that_is_wrong_is_left_alone(
    stack: Path, capsys: pytest.CaptureFixture[str], text: str | None, words: str
) -> None:
    """Not there, without domains, no text, or with another mistake in it."""
    if text is None:
        stack.unlink()
    else:
        stack.write_text(text, encoding="utf-8")
    assert 64 == promote(stack)
    err = capsys.readouterr().err
    assert ("mta-sts promote: ", True) == (err[:17], words in err)
    assert not attached(stack).exists()


def test_edited_evidence_is_refused(stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The digest shows an edit by hand."""
    edited = build(stack.parents[1] / "in") | {"failures": [], "sessions": {"successful": 9, "failed": 0}}
    (tmp_path / "e.json").write_text(json.dumps(edited), encoding="utf-8")
    assert 64 == promote(stack, "--evidence", str(tmp_path / "e.json"), reports=False)
    assert "changed after it was written" in capsys.readouterr().err
    assert untouched(stack)


@pytest.mark.parametrize("earlier", [None, "an earlier file"])
def test_where_the_stack_file_can_not_be_written_the_evidence_is_taken_back(
    stack: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], earlier: str | None
) -> None:
    """Both or neither."""
    if earlier:
        attached(stack).parent.mkdir()
        attached(stack).write_text(earlier, encoding="utf-8")
    replace = Path.replace

    def full(self: Path, target: Path) -> Path:
        if target == stack:
            raise OSError(28, "No space left on device", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    assert 64 == promote(stack)
    assert "No space left on device" in capsys.readouterr().err
    assert STACK == stack.read_text(encoding="utf-8")
    left = [file.read_text(encoding="utf-8") for file in attached(stack).parent.iterdir()]
    assert ([earlier] if earlier else []) == left


def test_the_edited_stack_means_the_same_but_for_the_mode(stack: Path) -> None:
    """Read as YAML."""
    wanted = yaml.safe_load(STACK)
    wanted["config"][DOMAINS][0]["mode"] = "enforce"
    assert 0 == promote(stack)
    assert wanted == yaml.safe_load(stack.read_text(encoding="utf-8"))
