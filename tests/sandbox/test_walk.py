"""The walk from testing to enforce, as `make walk` takes it."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from sandbox import __main__ as command
from sandbox import walk as walking

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.engine
def test_a_domain_goes_from_testing_to_enforce_on_evidence(tmp_path: Path) -> None:
    """Refused with the wrong host named, by command and preview; then enough; then live, and mail arrives."""
    said: list[str] = []
    walking.take_walk(tmp_path, said.append)
    text = "\n".join(said)
    for words in (
        "not enough for enforce",
        "stays in testing; the evidence can be enough on",
        "domains[0].evidence.certificate-host-mismatch@mx2.example.com",
        "# Enforce MTA-STS for example.com",
        "example.com: safe: no sender refuses mail, or loses the policy",
        "testing -> enforce",
        "3 senders, 8 days, told by diligent.example; lazy.example; renewing.example",
        "diligent.example under enforce",
        "delivered to mx2.example.com; not used: mx1.example.com",
    ):
        assert words in text


def test_a_step_that_fails_ends_the_walk_with_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What went wrong is said, and the folder is gone."""
    folders: list[Path] = []

    def fail(folder: Path, _: object) -> None:
        folders.append(folder)
        raise walking.UnexpectedError("step 3 did not go as it should: evidence is short")

    monkeypatch.setattr(walking, "take_walk", fail)
    assert 1 == command.walk(Namespace())
    assert "step 3 did not go as it should" in capsys.readouterr().err
    assert not folders[0].exists()
