"""What people and programs get to see of a summary, hostile reports included."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from errno import ENOSPC
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from mta_sts.cli import main
from mta_sts.commands.output import ProgressLine
from mta_sts.reports import collect as collect_module
from mta_sts.reports.collect import Options, Progress, collect
from mta_sts.reports.document import WARNINGS, document
from mta_sts.reports.html import to_html
from mta_sts.reports.writers import chart, to_csv, to_text
from tests.mta_sts.report_samples import data, days, failure, policy, report

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "<script>alert(1)</script>\x1b[2J\u202e\"'&=HYPERLINK(1)"


def document_of(folder: Path, *documents: dict[str, Any]) -> dict[str, Any]:
    """Return the document of some reports."""
    for number, one in enumerate(documents):
        (folder / f"{number}.json").write_bytes(data(one))
    return document(collect([str(folder)], Options(jobs=1)))


def hostile(folder: Path) -> dict[str, Any]:
    """Return a document whose every text tries to break out."""
    (folder / "evil<b>\x1b[2J.json").write_bytes(b"{")
    bad = failure(EVIL, mx=EVIL)
    bad["failure-reason-code"] = EVIL
    return document_of(
        folder,
        report(policy(EVIL, failed=1, details=[bad], domain=EVIL, body=[EVIL]), organization="=" + EVIL),
        report(policy(body=[EVIL], failed=1, details=[bad])),
    )


WIDE = "\uff1d\uff0b\uff0d\uff20"
"""The wide forms of =, +, - and @."""


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one tag."""
        self.seen |= {tag, *(name for name, _ in attrs)}


def test_the_page_is_one_file_without_script_or_foreign_tags(tmp_path: Path) -> None:
    """Whatever reports hold, the page has only our tags, loads nothing, and forbids all scripts."""
    page = to_html(hostile(tmp_path))
    tags = Tags()
    tags.feed(page)
    assert not tags.seen & {"script", "b", "img", "link", "iframe", "onclick", "onload", "href", "src"}
    assert "default-src 'none'" in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page


def test_no_writer_lets_control_characters_through(tmp_path: Path) -> None:
    """A terminal never sees an escape sequence of a stranger."""
    plain = hostile(tmp_path)
    for text in (to_text(plain), to_csv(plain), to_html(plain)):
        assert all(character.isprintable() or character == "\n" for character in text)


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    """A spreadsheet takes what strangers wrote for text."""
    rows = list(csv.reader(io.StringIO(to_csv(hostile(tmp_path)))))
    assert any(cell.startswith("'=") for row in rows for cell in row)
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)
    (tmp_path / "wide").mkdir()
    plain = document_of(tmp_path / "wide", *(report(organization=f"{sign}cmd()") for sign in WIDE))
    for sign in WIDE:
        assert f",'{sign}cmd()," in to_csv(plain)


def test_rows_have_days_organizations_failures_and_unreadable_files(tmp_path: Path) -> None:
    """The CSV form says the same as the document."""
    (tmp_path / "x.json").write_bytes(b"{")
    plain = document_of(tmp_path, report(policy(failed=2, details=[failure(sessions=2)])))
    rows = list(csv.DictReader(io.StringIO(to_csv(plain))))
    assert ["day", "organization", "failure", "unreadable"] == [row["section"] for row in rows]
    assert ("5", "2") == (rows[0]["successful"], rows[0]["failed"])
    assert ("mx2.example.com", "2") == (rows[2]["mx"], rows[2]["failed"])
    assert rows[3]["name"].endswith("x.json")


def test_the_chart_shows_days_without_reports_and_days_with_failures() -> None:
    """Silence is a dot, failures are marked, the highest day is the highest bar."""
    counts = [("2026-03-01", 1, 0), ("2026-03-02", 7, 1), ("2026-03-04", 0, 0)]
    bars, marks = chart(
        [{"day": day, "successful": fine, "failed": bad, "failed_unknown": 0} for day, fine, bad in counts],
        date(2026, 3, 4),
    )
    assert "2026-03-01 ▁█·▁ 2026-03-04" in bars
    assert marks.index("!") == bars.index("█")


@pytest.mark.parametrize("ahead", ["2026-03-10", "2199-04-30"])
def test_a_report_dated_ahead_does_not_empty_the_charts(tmp_path: Path, ahead: str) -> None:
    """Charts end with today; what lies ahead is said."""
    plain = document_of(tmp_path, *(report(day=day) for day in [*days(9), ahead]))
    today = date(2026, 3, 9)
    assert "2026-03-01 █████████ 2026-03-09" in to_text(plain, today=today)
    assert "2026-03-01 to 2026-03-09, at most 5" in to_html(plain, today=today)
    for text in (to_text(plain, today=today), to_html(plain, today=today)):
        assert "1 days lie ahead of 2026-03-09" in text
        assert "1 days lie ahead" not in to_text(plain, today=date.fromisoformat(ahead))
    alone = document_of(tmp_path, *(report(day=ahead) for _ in range(10)))
    assert "1 days lie ahead" in to_text(alone, today=today)
    assert "1 days lie ahead" in to_html(alone, today=today)


def test_text_names_what_to_do_and_what_is_unusual(tmp_path: Path) -> None:
    """The table names host, type and advice; warnings and unreadable files are at the end."""
    (tmp_path / "x.json").write_bytes(b"{")
    text = to_text(document_of(tmp_path, report(policy(failed=None, details=[failure()]))))
    for part in (
        "mx2.example.com",
        "Renew it",
        "failures unknown in 1 reports",
        WARNINGS["failure-count-unknown"],
        "x.json",
    ):
        assert part in text
    assert to_text(document_of(tmp_path, report()), plain_ascii=True).isascii()


def test_nothing_read_is_not_no_failure(tmp_path: Path) -> None:
    """An empty result says so in text and on the page."""
    plain = document(collect([str(tmp_path)], Options(jobs=1)))
    assert "not the same as no failure" in to_text(plain)
    assert "not the same as no failure" in to_html(plain)


def test_the_command_prints_the_whole_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` has everything, unreadable files by name and reason, and exits 1 for them, 0 without."""
    (tmp_path / "good.json").write_bytes(data(report()))
    assert main(["reports", str(tmp_path), "--json"]) == 0
    (tmp_path / "bad.json").write_bytes(b"{")
    capsys.readouterr()
    assert main(["reports", str(tmp_path), "--json"]) == 1
    plain = json.loads(capsys.readouterr().out)
    ((name, reason),) = [(item["name"], item["reason"]) for item in plain["unreadable"]]
    assert str(tmp_path / "bad.json") == name
    assert "not JSON" in reason
    assert plain["domains"][0]["domain"] == "example.com"


@pytest.mark.parametrize("form", [[], ["--csv"], ["--html"], ["--json"]])
def test_every_form_can_be_written_to_a_file(
    tmp_path: Path, form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file is there whole, and nothing beside it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in/r.json").write_bytes(data(report()))
    target = tmp_path / "out"
    target.mkdir()
    assert main(["reports", str(tmp_path / "in"), *form, "-o", str(target / "file")]) == 0
    assert "example.com" in (target / "file").read_text(encoding="utf-8")
    assert [target / "file"] == list(target.iterdir())
    assert capsys.readouterr().out == ""


def test_the_document_is_printed_even_where_a_reader_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process or a full disk loses what was read: every place is unreadable, for that reason."""
    (tmp_path / "good.json").write_bytes(data(report()))
    for error, reason in ((BrokenProcessPool(), "lack of memory"), (OSError(ENOSPC, "No space left"), "No space left")):
        monkeypatch.setattr(collect_module, "_read_all", Mock(side_effect=error))
        assert main(["reports", str(tmp_path), "there", "--json"]) == 1
        unreadable = json.loads(capsys.readouterr().out)["unreadable"]
        assert [str(tmp_path), "there"] == [item["name"] for item in unreadable]
        assert all(reason in item["reason"] for item in unreadable)


WRONG = [
    ["x", "--domain", "not a domain"],
    ["x", "--jobs", "-1"],
    ["x", "--max-size", "0"],
    ["x", "--trust-authserv", ""],
    ["x", "--trust-authserv", "mx.example.com 1"],
    ["s3://"],
    ["x", "-o", "/dev/null/x"],
]


@pytest.mark.parametrize("arguments", WRONG)
def test_a_wrong_call_exits_with_64_and_a_word(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Usage errors are told apart from unreadable reports, and name what was given."""
    assert main(["reports", *arguments]) == 64
    error = capsys.readouterr().err
    assert "mta-sts reports: " in error
    assert arguments[-1] in error


def test_a_folder_is_no_file_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the place that was given, and nothing is left beside it."""
    (tmp_path / "r.json").write_bytes(data(report()))
    (tmp_path / "folder").mkdir()
    assert main(["reports", str(tmp_path / "r.json"), "-o", str(tmp_path / "folder")]) == 64
    assert f"mta-sts reports: {tmp_path / 'folder'}: " in capsys.readouterr().err
    assert {"r.json", "folder"} == {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("form", [[], ["--csv"], ["--html"], ["--json"]])
def test_a_terminal_without_utf_8_is_no_error(tmp_path: Path, form: list[str]) -> None:
    """Names in any script can be printed anywhere."""
    (tmp_path / "r.json").write_bytes(data(report(policy(failed=1), organization="Отправитель")))
    command = [
        sys.executable,
        "-c",
        "import sys; from mta_sts.cli import main; sys.exit(main())",
        "reports",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    assert subprocess.run([*command, *form], env=environment, check=False, capture_output=True).returncode == 0


def test_two_forms_at_once_are_a_usage_error() -> None:
    """Only one form can be printed."""
    with pytest.raises(SystemExit) as stopped:
        main(["reports", "x", "--json", "--csv"])
    assert stopped.value.code == 64


def test_progress_is_shown_only_after_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    """Short work is silent; long work says now and then how far it has come."""
    times = iter([0.0, 1.0, 20.0, 20.0])
    with ProgressLine(lambda: next(times)) as line:
        line.show(Progress(1, 1))
        assert capsys.readouterr().err == ""
        line.show(Progress(2000, 1500))
    assert capsys.readouterr().err == "2,000 files read, 1,500 reports\n"


def test_long_lists_are_cut_in_text_and_whole_in_json(tmp_path: Path) -> None:
    """A terminal shows the first; the count of the others is said."""
    plain = document_of(tmp_path, *(report(organization=f"S{number}", day=day) for number, day in enumerate(days(30))))
    assert "and 10 more" in to_text(plain)
    assert len(plain["domains"][0]["policies"][0]["organizations"]) == 30
