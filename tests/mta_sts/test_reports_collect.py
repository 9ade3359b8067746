"""Reading whole places: files, folders, Maildirs, mbox files, archives, S3; sums that do not depend on order."""

from __future__ import annotations

import gzip
import io
import math
import os
import random
import zipfile
from collections import Counter
from contextlib import suppress
from errno import ENOSPC
from threading import Thread
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mta_sts.findings import MtaStsError
from mta_sts.reports import collect as collect_module
from mta_sts.reports import sources, summary
from mta_sts.reports.collect import Options, Progress, collect
from mta_sts.reports.containers import Context, Input, Limits, Unreadable
from mta_sts.reports.document import document
from mta_sts.reports.origin import OriginCheck
from mta_sts.reports.parse import Report
from tests.mta_sts.report_samples import BODY, DOMAIN, data, days, failure, mail, policy, report

if TYPE_CHECKING:
    from pathlib import Path

ALONE = Options(jobs=1)


def write(folder: Path, *documents: dict[str, Any]) -> None:
    """Write reports into a folder, one file each."""
    for number, one in enumerate(documents):
        (folder / f"{number}.json").write_bytes(data(one))


def read_all(*places: Path | str, **options: Any) -> dict[str, Any]:
    """Return the document of what lies at some places."""
    return document(collect(map(str, places), Options(jobs=1, **options)))


def policies(plain: dict[str, Any], domain: str = DOMAIN) -> list[dict[str, Any]]:
    """Return the policies of one domain."""
    return [policy for entry in plain["domains"] if entry["domain"] == domain for policy in entry["policies"]]


def test_sums_are_kept_per_type_body_host_sender_and_day(tmp_path: Path) -> None:
    """Every number of the document can be traced to the reports."""
    other_body = ["version: STSv1", "mode: testing", "mx: mx9.example.com", "max_age: 86400"]
    write(
        tmp_path,
        report(policy(successful=5), policy("tlsa", successful=5), day="2026-03-01"),
        report(policy(successful=2, failed=3, details=[failure(sessions=3)]), day="2026-03-02"),
        report(policy(successful=7), organization="Sender B", day="2026-03-02"),
        report(policy(successful=1, body=other_body), day="2026-03-03"),
    )
    found = {(one["type"], one["body"]): one for one in policies(read_all(tmp_path))}
    assert len(found) == 3
    (main,) = [one for one in found.values() if one["policy"] == list(BODY)]
    assert (14, 3, 3) == (main["successful"], main["failed"], main["reports"])
    assert [("2026-03-01", 5, 0), ("2026-03-02", 9, 3)] == [
        (day["day"], day["successful"], day["failed"]) for day in main["days"]
    ]
    assert [("Sender A", 7), ("Sender B", 7)] == [(one["name"], one["successful"]) for one in main["organizations"]]
    (only,) = main["failures"]
    assert ("certificate-expired", "mx2.example.com", "Sender A", 3, "2026-03-02") == (
        only["result_type"],
        only["mx"],
        only["organization"],
        only["sessions"],
        only["first_day"],
    )
    assert [5] == [one["successful"] for (kind, _), one in found.items() if kind == "tlsa"]


def test_bodies_of_equal_meaning_are_one(tmp_path: Path) -> None:
    """Line order, capitals and line ends of `policy-string` do not make another body."""
    shuffled = [
        "version: STSv1\r",
        "max_age: 604800\r",
        "mx: MX2.example.com\r",
        "mode: testing\r",
        "mx: mx1.example.com",
    ]
    write(tmp_path, report(policy()), report(policy(body=shuffled), day="2026-03-02"))
    read_back = collect([str(tmp_path)], ALONE)
    for _ in range(2):  # writing a document leaves the summary as it is
        (one,) = policies(document(read_back))
        assert one["successful"] == 10
        assert one["organizations"][0]["successful"] == 10


def test_the_same_report_by_mail_and_as_a_file_counts_once(tmp_path: Path) -> None:
    """Copies are told by organization and report-id, whatever they are wrapped in; a signed copy gives the proof."""
    (tmp_path / "a.json").write_bytes(data(report()))
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(data(report())))
    signed = mail(data(report()), results="mx.example.com; dkim=pass header.d=sender.example")
    (tmp_path / "c.eml").write_bytes(signed)
    plain = read_all(tmp_path, origin=collect_module.OriginCheck("mx.example.com"))
    assert (1, 2, 0) == (plain["read"]["reports"], plain["read"]["duplicates"], plain["read"]["conflicts"])
    (one,) = policies(plain)
    assert (5, 5) == (one["successful"], one["signed"]["successful"])
    assert "sender.example" == one["organizations"][0]["signed_by"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_clean_copy_never_hides_a_failing_one(tmp_path: Path, order: tuple[int, int]) -> None:
    """Two different reports under one id: the worse counts, whichever was read first, and both are named."""
    reports = [report(policy(successful=9)), report(policy(successful=1, failed=2))]
    write(tmp_path, *(reports[number] for number in order))
    plain = read_all(tmp_path)
    (one,) = policies(plain)
    assert (1, 2) == (one["successful"], one["failed"])
    assert plain["read"]["conflicts"] == 1
    (conflict,) = plain["conflicts"]
    assert {str(tmp_path / "0.json"), str(tmp_path / "1.json")} == {conflict["counted"], conflict["other"]}


def test_capitals_in_the_name_make_no_other_report(tmp_path: Path) -> None:
    """An organization that writes its name now so, now so, is one; its reports count once."""
    write(
        tmp_path, *(report(organization=name, report_id="1") for name in ("Sender Inc.", "SENDER INC.", "sender inc."))
    )
    read = read_all(tmp_path)["read"]
    assert (1, 2, 0) == (read["reports"], read["duplicates"], read["conflicts"])


kinds = st.sampled_from(["certificate-expired", "starttls-not-supported"])
details = st.lists(st.tuples(kinds, st.just("mx1.example.com"), st.just(1), st.just("")), max_size=1).map(tuple)
results = st.builds(
    lambda kind, fine, found: (DOMAIN, kind, "", fine, sum(each[2] for each in found), 0, found),
    st.sampled_from(["sts", "tlsa"]),
    st.integers(0, 2),
    details,
)
versions = st.builds(
    lambda organization, number, day, result, signer: Report(
        organization, number, day, day, (result,), (), f"{number}.json", signer
    ),
    st.sampled_from(["A", "a"]),
    st.just("1"),
    st.sampled_from(["2016-01-01", "2026-03-01"]),
    results,
    st.sampled_from(["", "", "one.example", "two.example"]),
)


def summed(records: list[Any]) -> summary.Summary:
    """Return the sums over records."""
    found = summary.Summary()
    found.sum_up(records)
    return found


def failed(found: summary.Summary) -> set[tuple[Any, ...]]:
    """Return every kind of failure with a day on which it was seen, whoever signed, in whatever spelling."""
    return {
        (key.policy_type, failure.result_type, failure.organization.casefold(), day)
        for key, group in found.groups.items()
        for failure, tally in group.failures.items()
        for day in tally.days or ()
    }


def fine(found: summary.Summary) -> dict[str, int]:
    """Return the successful sessions by who signed."""
    sums: Counter[str] = Counter()
    for group in found.groups.values():
        for who, sender in group.senders.items():
            sums[who.signer] += sender.tally.successful
    return dict(+sums)


@given(st.lists(versions, max_size=8), st.randoms(use_true_random=False))
def test_whatever_versions_there_are_no_failure_is_lost_and_nothing_unsigned_changes_what_is_proved(
    records: list[Any], order: random.Random
) -> None:
    """In any order: all failures of all versions, and the successes of the signed ones as if they were alone."""
    shuffled = order.sample(records, len(records))
    found = summed(records)
    assert document(found) == document(summed(shuffled))
    assert {
        (result[1], each[0], entry.organization.casefold(), entry.first_day)
        for entry in records
        for result in entry.policies
        for each in result[6]
    } == failed(found)
    signed = [entry for entry in records if entry.signer]
    assert fine(summed(signed or records)) == fine(found)


def test_one_id_for_two_domains_is_two_reports(tmp_path: Path) -> None:
    """A sender that uses its ids again for another domain loses none of its reports."""
    write(tmp_path, report(policy(), report_id="1"), report(policy(domain="example.net"), report_id="1"))
    plain = read_all(tmp_path)
    assert [DOMAIN, "example.net"] == [entry["domain"] for entry in plain["domains"]]


def test_the_domain_filter_ignores_case_and_dot(tmp_path: Path) -> None:
    """Reports about other domains are counted as such and otherwise left alone."""
    write(tmp_path, report(policy(domain="EXAMPLE.com.")), report(policy(domain="example.net"), organization="B"))
    plain = read_all(tmp_path, domains=frozenset({DOMAIN}))
    assert [DOMAIN] == [entry["domain"] for entry in plain["domains"]]
    assert plain["read"]["other_domains"] == 1


def test_folders_maildirs_and_hidden_files(tmp_path: Path) -> None:
    """Folders are read to the bottom; in a Maildir only `cur` and `new` of it and of its folders count."""
    for name in ("cur", "new", "tmp", ".Reports/cur", ".Reports/new"):
        (tmp_path / "Maildir" / name).mkdir(parents=True)
    (tmp_path / "Maildir/cur/1:2,S").write_bytes(mail(data(report(organization="A"))))
    (tmp_path / "Maildir/.Reports/new/2").write_bytes(mail(data(report(organization="B"))))
    (tmp_path / "Maildir/tmp/3").write_bytes(mail(data(report()))[:300])
    (tmp_path / "Maildir/dovecot.index.log").write_bytes(b"binary")
    (tmp_path / ".DS_Store").write_bytes(b"binary")
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/r.json").write_bytes(data(report(organization="C")))
    plain = read_all(tmp_path)
    assert ["A", "B", "C"] == [one["name"] for one in policies(plain)[0]["organizations"]]
    assert [] == plain["unreadable"]


def test_an_entry_that_cannot_be_read_hides_nothing_beside_it(tmp_path: Path) -> None:
    """Dead links, link loops and links to folders are named one by one; the rest of the folder is read."""
    (tmp_path / "dead.zip").symlink_to("nowhere")
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    for day in days(5):
        (tmp_path / f"{day}.rep").write_bytes(data(report(day=day)))
    plain = read_all(tmp_path)
    assert plain["read"]["reports"] == 5
    assert [str(tmp_path / name) for name in ("dead.zip", "folder", "self")] == [
        item["name"] for item in plain["unreadable"]
    ]


def test_archives_beside_the_mails_of_a_maildir_and_hidden_ones_are_read(tmp_path: Path) -> None:
    """What is a mail server's own is left alone, what may hold reports is not."""
    for name in ("cur", "new", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "dovecot-uidlist").write_bytes(b"3 V1 N2\n")
    (tmp_path / "maildirfolder").touch()
    with zipfile.ZipFile(tmp_path / "reports.zip", "w") as archive:
        archive.writestr("a", data(report(organization="A")))
    (tmp_path / "cur/.b").write_bytes(gzip.compress(data(report(organization="B"))))
    (tmp_path / "new/.c.json.gz.part").write_bytes(gzip.compress(data(report(organization="C")))[:-9])
    plain = read_all(tmp_path)
    assert ["A", "B"] == [one["name"] for one in policies(plain)[0]["organizations"]]
    assert [str(tmp_path / "new/.c.json.gz.part")] == [item["name"] for item in plain["unreadable"]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_read_to_its_end_by_whoever_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mta-sts reports <(…)`: what comes late counts too, and no other process is asked to open it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write_to_it() -> None:
        with suppress(BrokenPipeError), pipe.open("wb", buffering=0) as file:
            file.write(data(report(organization="A")))
            file.write(data(report(organization="B")) + b" " * 200_000)

    for limit, found in ((20 * 2**20, 2), (100_000, 0)):
        Thread(target=write_to_it, daemon=True).start()
        (work,) = sources.pieces([str(pipe)], limit=limit)
        assert isinstance(work, sources.Work)
        items: list[Report | Unreadable] = []
        sources.work_through(work, Context(), Input(Limits(document=limit), items.append))
        assert found == len([item for item in items if isinstance(item, Report)])
        assert found or "larger than" in str(items[0])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing place and an empty folder are unreadable: no report is not a clean report."""
    (tmp_path / "empty").mkdir()
    plain = read_all(tmp_path / "empty", tmp_path / "missing")
    assert [str(tmp_path / "empty"), str(tmp_path / "missing")] == [item["name"] for item in plain["unreadable"]]


def test_a_large_mbox_is_read_in_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the ranges cut, every mail is read exactly once."""
    mbox = tmp_path / "mbox"
    entries = [b"From a@b Thu\n" + mail(data(report(organization=f"S{number}"))) + b"\n" for number in range(30)]
    mbox.write_bytes(b"".join(entries))
    monkeypatch.setattr(sources, "_OWN_WORK", 100)
    for size in (97, 700, len(entries[0]), 5000):
        monkeypatch.setattr(sources, "_PIECE", size)
        assert len(list(sources.pieces([str(mbox)]))) > 1
        read_back = read_all(mbox)
        assert (30, 30, 0) == tuple(read_back["read"][name] for name in ("files", "reports", "duplicates"))


@pytest.mark.parametrize("own_work", [100, 2**18])
def test_mails_of_an_mbox_are_signed_where_the_place_says_that_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_work: int
) -> None:
    """`mbox:PATH` is the user's word that no mail in it can hold another; else the first mail alone is believed."""
    monkeypatch.setattr(sources, "_OWN_WORK", own_work)
    file = tmp_path / "spool"
    results = "mx.example.com; dkim=pass header.d=sender.example"
    file.write_bytes(
        b"".join(b"From a@b\n" + mail(data(report(organization=name)), results=results) + b"\n" for name in "ABC")
    )
    origin = OriginCheck("mx.example.com")
    for place, signed in ((f"mbox:{file}", 3), (str(file), 1), (f"mbox:{tmp_path}", 3)):
        found = document(collect([place], Options(jobs=1, origin=origin)))
        assert 3 == found["read"]["reports"]
        assert signed == sum(one["signed"]["reports"] for one in policies(found))
        assert ["mbox-not-stated"] * (signed == 1) == [one["name"] for one in found["warnings"]]


def test_a_mail_too_large_in_an_mbox_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One huge mail is unreadable, its neighbours are read."""
    monkeypatch.setattr(sources, "_OWN_WORK", 100)
    monkeypatch.setattr(sources, "_PIECE", 1000)
    mbox = tmp_path / "mbox"
    mbox.write_bytes(
        b"From x\n"
        + mail(data(report()))
        + b"\nFrom x\nA: b\n\n"
        + b"x" * 300_000
        + b"\nFrom x\n"
        + mail(data(report(organization="B")))
    )
    plain = read_all(mbox, limits=collect_module.Limits(document=50_000))
    assert plain["read"]["reports"] == 2
    assert ["larger than 50000 bytes"] == [item["reason"] for item in plain["unreadable"]]


def test_a_large_archive_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip file beyond the size of one piece is read from disk, member by member."""
    monkeypatch.setattr(sources, "_OWN_WORK", 100)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for day in days(5):
            archive.writestr(f"{day}.json", data(report(day=day)))
    assert [("zip", str(tmp_path / "all.zip"))] == [(work.kind, work.place) for work in sources.pieces([str(tmp_path)])]
    assert read_all(tmp_path)["read"]["reports"] == 5


def test_spilled_to_disk_or_not_the_sums_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory limits change where records lie, never what they say; neither does the order of files."""
    reports = [
        report(policy(failed=number % 3), day=day, organization=f"S{number}") for number, day in enumerate(days(20))
    ]
    write(tmp_path, *reports, *reports[:5])
    whole = read_all(tmp_path)
    monkeypatch.setattr(summary, "_KEEP_RECORDS", 3)
    monkeypatch.setattr(summary, "_KEEP_BYTES", 100)
    assert whole == read_all(tmp_path)
    names = [str(path) for path in tmp_path.iterdir()]
    random.Random(7).shuffle(names)  # noqa: S311  order, not a secret
    assert whole == read_all(*names)


def test_a_disk_that_is_full_for_a_moment_is_not_a_fault_of_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was not kept is lost: the run fails, and no healthy report is called unreadable."""
    write(tmp_path, *(report(organization=f"S{number}") for number in range(9)))
    monkeypatch.setattr(summary, "_KEEP_RECORDS", 3)
    monkeypatch.setattr(summary.Spill, "_pack", Mock(side_effect=[OSError(ENOSPC, "No space left"), *[None] * 9]))
    with pytest.raises(MtaStsError) as caught:
        collect([str(tmp_path)], Options(jobs=1))
    assert ["no-room"] == [finding.rule for finding in caught.value.findings]


@pytest.mark.parametrize(("seconds", "pools"), [(0, 1), (math.inf, 0)])
def test_several_processes_give_the_same_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, pools: int
) -> None:
    """Work in other processes is added up to the same document; what is read soon is read without them."""
    write(tmp_path, *(report(day=day) for day in days(40)))
    (tmp_path / "broken.json").write_bytes(b"{")
    alone = read_all(tmp_path)
    monkeypatch.setattr(sources, "BATCH", 4)
    monkeypatch.setattr(collect_module, "_ALONE", seconds)
    pool = Mock(side_effect=collect_module._pool)
    monkeypatch.setattr(collect_module, "_pool", pool)
    seen: list[Progress] = []
    together = document(collect([str(tmp_path)], Options(jobs=2), seen.append))
    assert alone == together
    assert Progress(41, 40) == seen[-1]
    assert pools == pool.call_count


class Bucket:
    """An S3 client as far as it is used, with the objects of one bucket."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.fetched = 0

    def get_paginator(self, _name: str) -> Bucket:
        """Return what pages."""
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:  # noqa: N803  as boto3 has it
        """Return a page of keys, and an empty one."""
        assert Bucket == "reports"
        return [{"Contents": [{"Key": key}]} for key in self.objects if key.startswith(Prefix)] + [{}]

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        """Return one object, unless it is forbidden."""
        assert Bucket == "reports"
        self.fetched += 1
        if Key.endswith("forbidden"):
            from botocore.exceptions import ClientError  # noqa: PLC0415

            raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}


def test_reports_in_s3_are_read_and_what_is_forbidden_is_named() -> None:
    """Objects below a prefix are read as files are; folder markers are none."""
    bucket: Any = Bucket(
        {
            "in/": b"",
            "in/1": data(report()),
            "in/2": mail(data(report(organization="B"))),
            "in/forbidden": b"",
            "x": b"",
        }
    )
    items: list[Report | Unreadable] = []
    works = list(sources.pieces(["s3://reports/in/"], bucket))
    for work in works:
        assert isinstance(work, sources.Work)
        assert sources.work_through(work, Context(), Input(Limits(), items.append), bucket) == 3
    assert ["Sender A", "B"] == [item.organization for item in items if isinstance(item, Report)]
    assert ["s3://reports/in/forbidden"] == [item.name for item in items if isinstance(item, Unreadable)]


def test_objects_are_fetched_only_a_little_ahead() -> None:
    """Thousands of large objects never wait in memory together."""
    bucket: Any = Bucket({f"in/{number}": data(report(report_id=str(number))) for number in range(200)})
    waiting: list[int] = []
    (work,) = sources.pieces(["s3://reports/in/"], bucket)
    assert isinstance(work, sources.Work)
    whole = Input(Limits(), lambda _item: waiting.append(bucket.fetched - len(waiting)))
    sources.work_through(work, Context(), whole, bucket)
    assert len(waiting) == 200
    assert max(waiting) <= sources._S3_AHEAD


def test_a_place_in_s3_that_cannot_be_listed_costs_no_other_place(tmp_path: Path) -> None:
    """Even where the settings of the environment make no sense."""
    write(tmp_path, report())

    class Wrong:
        """A client that the environment points nowhere."""

        def get_paginator(self, _name: str) -> None:
            """Fail as boto3 does."""
            raise ValueError("Invalid endpoint: foo")

    wrong: Any = Wrong()
    bad, good = sources.pieces(["s3://reports/in", str(tmp_path)], wrong)
    assert bad == Unreadable("s3://reports/in", "cannot be listed: Invalid endpoint: foo")
    assert isinstance(good, sources.Work)


def test_a_prefix_without_objects_is_named() -> None:
    """An empty place in S3 is as unreadable as an empty folder."""
    bucket: Any = Bucket({})
    (item,) = sources.pieces(["s3://reports/none"], bucket)
    assert isinstance(item, Unreadable)
