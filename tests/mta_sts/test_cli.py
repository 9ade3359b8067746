"""The command line: what it says, and the exit code that a script reads."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mta_sts.cli import main

UNSAFE_PLAN = Path(__file__).parent / "plans" / "mx-in-parallel.json"
GOOD = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604800\n"


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """Return where a policy may be written."""
    return tmp_path / "mta-sts.txt"


def leaves(arguments: list[str]) -> int | str | None:
    """Run a command that argparse ends; return the exit code."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return caught.value.code


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        (GOOD, 0, "may be published"),
        (GOOD.replace(b"604800", b"3600"), 0, "warning: max_age: max_age 3600 is below a day"),
        (GOOD.replace(b"604800", b"0"), 1, "error: max_age: max_age is 0"),
        (GOOD.replace(b"mx.example.com", b"mx-*.example.com"), 1, "error: line 3: mx 'mx-*.example.com'"),
        (b"", 1, "the body is empty"),
        (b"\x7fELF\x00\xff\xfe", 1, "the body is not UTF-8"),
    ],
    ids=["good", "warning", "error", "bad pattern", "empty", "binary"],
)
def test_lint_judges_a_file(
    policy_file: Path, capsys: pytest.CaptureFixture[str], body: bytes, code: int, said: str
) -> None:
    """0 with or without warnings, 1 with errors; each finding stands with the file's name."""
    policy_file.write_bytes(body)
    assert code == main(["lint", str(policy_file)])
    out, err = capsys.readouterr()
    assert said in out
    assert all(line.startswith(f"{policy_file}: ") for line in out.splitlines())
    assert "" == err


def test_lint_reads_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input, as bytes."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(GOOD)))
    assert 0 == main(["lint", "-"])
    assert "-: may be published\n" == capsys.readouterr().out


def test_lint_speaks_json(policy_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` gives the same findings as data, on standard output alone."""
    policy_file.write_bytes(GOOD.replace(b"enforce", b"on").replace(b"604800", b"x"))
    assert 1 == main(["lint", "--json", str(policy_file)])
    document = json.loads(capsys.readouterr().out)
    assert (str(policy_file), False) == (document["file"], document["publishable"])
    assert [("mode-unknown", "line 2", "error"), ("max-age-not-a-number", "line 4", "error")] == [
        (found["rule"], found["path"], found["severity"]) for found in document["findings"]
    ]


@pytest.mark.parametrize("name", ["missing.txt", ""], ids=["missing", "a folder"])
def test_lint_says_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A file that can't be read is a wrong call, not a wrong policy."""
    assert 64 == main(["lint", str(tmp_path / name)])
    out, err = capsys.readouterr()
    assert "" == out
    assert str(tmp_path / name) in err


@pytest.mark.parametrize("arguments", [[], ["lint"], ["lint", "--what", "-"], ["lnt", "-"]])
def test_a_wrong_call_is_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Wrong arguments exit with 64, apart from findings."""
    assert 64 == leaves(arguments)
    assert "usage: mta-sts" in capsys.readouterr().err


def test_help_and_version_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Both print to standard output and succeed."""
    assert 0 == leaves(["--help"])
    assert "lint" in capsys.readouterr().out
    assert 0 == leaves(["--version"])
    assert capsys.readouterr().out.startswith("mta-sts ")


@pytest.mark.parametrize(
    ("verdict", "arguments"),
    [
        (0, ["--version"]),
        (0, ["review", "--help"]),
        (0, ["lint", "POLICY"]),
        (1, ["review", "--json", str(UNSAFE_PLAN)]),
        (64, ["review", "nosuch.json"]),
    ],
    ids=str,
)
def test_a_reader_that_goes_away_is_no_error(
    policy_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    verdict: int,
    arguments: list[str],
) -> None:
    """`mta-sts … | head` ends quietly, and with the verdict: CI may look at it (`pipefail`)."""
    policy_file.write_bytes(GOOD)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1, encoding="utf-8") as gone:  # noqa: PTH123  a descriptor
        monkeypatch.setattr(sys, "stdout", gone)
        try:
            ended = main([str(policy_file) if word == "POLICY" else word for word in arguments])
        except SystemExit as end:
            ended = end.code
    assert (verdict, verdict == 64) == (ended, bool(capsys.readouterr().err))


@pytest.mark.parametrize(("arguments", "verdict"), [(["review", str(UNSAFE_PLAN)], 1), (["lint", "nosuch"], 64)])
def test_streams_that_are_closed_change_no_verdict(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], verdict: int
) -> None:
    """`mta-sts … >&- 2>&-`: Python has no streams then."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert verdict == main(arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.close()


def test_neither_a_pipe_nor_a_link_is_replaced(tmp_path: Path) -> None:
    """As root, `-o /dev/null` would replace the device for everybody."""
    pipe, link, file = (tmp_path / name for name in ("pipe", "link", "file"))
    os.mkfifo(pipe)
    link.symlink_to(file)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        for target in (pipe, link):
            assert 1 == main(["review", str(UNSAFE_PLAN), "-o", str(target)])
        told = os.read(reader, 2**16)
    finally:
        os.close(reader)
    assert (True, True) == (pipe.is_fifo(), link.is_symlink())
    assert told == file.read_bytes()
    assert told.startswith(b"Unsafe")
    assert {pipe, link, file} == set(tmp_path.iterdir())
