"""Whatever a report is wrapped in: read, or named with a reason."""

from __future__ import annotations

import base64
import gc
import gzip
import io
import json
import zipfile
from email import message_from_bytes
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta_sts.reports import containers as containers_module
from mta_sts.reports import mail as mail_module
from mta_sts.reports import parse as parse_module
from mta_sts.reports.containers import UNEXPECTED, Context, Input, Limits, Unreadable, read
from mta_sts.reports.origin import OriginCheck
from mta_sts.reports.parse import Report
from tests.mta_sts.report_samples import data, mail, policy, report

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = data(report())
SECOND = data(report(organization="Sender B"))


def found_in(content: bytes, limits: Limits | None = None) -> list[Report | Unreadable]:
    """Return what is found in some bytes."""
    items: list[Report | Unreadable] = []
    read(content, "file", Context(), Input(limits or Limits(), items.append))
    return items


def organizations(content: bytes) -> list[str]:
    """Return who sent the reports in some bytes; an unreadable part shows as its reason."""
    return [item.organization if isinstance(item, Report) else item.reason for item in found_in(content)]


def zipped(method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> bytes:
    """Return a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def attached(*parts: tuple[str, str, bytes], kind: str = "mixed") -> bytes:
    """Return a mail with attachments, built by the standard library."""
    message = EmailMessage()
    message["From"] = "a@sender.example"
    message["TLS-Report-Domain"] = "example.com"
    message.set_content("see below")
    for mime, name, content in parts:
        main, sub = mime.split("/")
        message.add_attachment(content, maintype=main, subtype=sub, filename=name)
    message.replace_header("Content-Type", f"multipart/{kind}; boundary=x-b")
    return message.as_bytes()


GZ = gzip.compress(JSON, mtime=0)
WRAPPED = {
    "plain": JSON,
    "byte order mark": b"\xef\xbb\xbf" + JSON,
    "UTF-16": json.dumps(report()).encode("utf-16"),
    "white space around": b"\r\n " + JSON + b"\n\n",
    "NULs after the end": JSON + b"\0\0\0",
    "gzip": GZ,
    "gzip in gzip": gzip.compress(GZ),
    "bytes after gzip": GZ + b"\r\n",
    "zip": zipped(a=JSON),
    "gzip in zip": zipped(a=GZ),
    "mail": mail(JSON),
    "mail with bare LF": mail(JSON).replace(b"\r\n", b"\n"),
    "mail in gzip": gzip.compress(mail(JSON)),
    "mail in mbox": b"From a@b Thu Jan  1 00:00:00 2026\n" + mail(JSON),
    "octet-stream": attached(("application/octet-stream", "report.json.gz", GZ)),
    "no name and no type": attached(("application/octet-stream", "", GZ)),
    "application/gzip": attached(("application/gzip", "r", GZ)),
    "application/zip": attached(("application/zip", "r.zip", zipped(a=JSON))),
    "application/json": attached(("application/json", "r", JSON)),
    "tlsrpt without suffix": attached(("application/tlsrpt", "r", JSON)),
    "+gzip that is plain": attached(("application/tlsrpt+gzip", "r", JSON)),
    "+json that is gzip": attached(("application/tlsrpt+json", "r", GZ)),
    "related": attached(("application/tlsrpt+json", "r", JSON), kind="related"),
    "quoted-printable": (
        b"From: a@b.example\nContent-Type: application/tlsrpt+json\nContent-Transfer-Encoding: quoted-printable\n\n"
        + JSON.replace(b"=", b"=3D").replace(b"{", b"=7B", 1)
    ),
    "the mail is the report": b"From: a@b.example\nContent-Type: application/tlsrpt+json\n\n" + JSON,
}


@pytest.mark.parametrize("content", WRAPPED.values(), ids=WRAPPED.keys())
def test_one_report_is_found_in_every_wrapping(content: bytes) -> None:
    """Names and content types may lie, first bytes decide."""
    assert ["Sender A"] == organizations(content)


BOTH = {
    "two documents": JSON + SECOND,
    "a list": b"[" + JSON + b"," + SECOND + b"]",
    "two gzip members": GZ + gzip.compress(SECOND),
    "zip": zipped(a=JSON, b=SECOND),
    "mbox": b"".join(b"From x\n" + mail(one) for one in (JSON, SECOND)),
    "two attachments": attached(("application/tlsrpt+gzip", "a", GZ), ("application/tlsrpt+json", "b", SECOND)),
}


@pytest.mark.parametrize("content", BOTH.values(), ids=BOTH.keys())
def test_a_second_report_is_never_dropped(content: bytes) -> None:
    """Two in one file, mail or archive are two."""
    assert ["Sender A", "Sender B"] == organizations(content)


BROKEN = {
    "empty": (b"", "empty"),
    "text": (b"hello\n", "not JSON"),
    "half a report": (JSON[:-20], "not JSON"),
    "gzip cut off": (GZ[:-12], "cut off"),
    "gzip damaged": (GZ[:30] + b"\0\0\0\0" + GZ[34:], "damaged gzip"),
    "zip damaged": (zipped(a=JSON)[:-30], "damaged zip"),
    "zip empty": (zipped(), "empty"),
    "mail without a report": (attached(), "without a TLS report"),
    "attachment that is none": (attached(("application/tlsrpt+json", "r", b"{}")), "no policies"),
    "base64 that is none": (mail(JSON).replace(b"H4sI", b"@@@@"), ""),
    "deep JSON": (b"[" * 100_000, "not JSON"),
    "infinite": (data(report(policy(failed=0))).replace(b'session-count": 0', b'session-count": NaN'), ""),
}


@pytest.mark.parametrize(("content", "reason"), BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_read_is_named(content: bytes, reason: str) -> None:
    """Damage gives a named reason, or an unknown count, never a clean report."""
    for item in found_in(content):
        if isinstance(item, Report):
            assert item.results[0].failed_unknown == 1
        else:
            assert item.name.startswith("file")
            assert reason in item.reason
    assert found_in(content)


def test_reading_leaves_no_cycles() -> None:
    """Whatever is read: so the collector may run rarely while many reports are in memory, and memory stays bounded."""
    inputs = [*WRAPPED.values(), *BOTH.values(), *(content for content, _ in BROKEN.values())]
    for content in inputs:
        found_in(content)  # what is made once, such as caches
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    gc.freeze()  # what other tests have loaded is not looked through once an input
    try:
        left = [content[:80] for content in inputs if found_in(content) and gc.collect()]
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
    assert [] == left


def test_the_good_half_of_a_file_is_kept_and_the_bad_half_named() -> None:
    """Garbage after a report, or a broken member of an archive, hides nothing and is not hidden."""
    for content in (JSON + b"garbage", zipped(a=JSON, b=b"garbage"), JSON + JSON[:50]):
        first, second = found_in(content)
        assert isinstance(first, Report)
        assert isinstance(second, Unreadable)


def test_what_nobody_foresaw_hides_nothing_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that makes a reader fail is named; its neighbours in list, archive and mbox file are read."""
    days = parse_module._days

    def failing(start: str, end: str) -> tuple[str, str, str]:
        if start.startswith("2026-03-07"):
            raise TypeError("odd")
        return days(start, end)

    monkeypatch.setattr(parse_module, "_days", failing)
    odd = data(report(day="2026-03-07"))
    for content in (b"[" + odd + b"," + SECOND + b"]", zipped(a=odd, b=SECOND), mbox(odd, SECOND)):
        assert ["cannot be read: TypeError: odd", "Sender B"] == organizations(content)


def test_an_odd_type_in_one_member_of_an_archive_is_read_with_the_rest() -> None:
    """`policy-type` may be anything at all."""
    one = policy(failed=9)
    one["policy"]["policy-type"] = []
    assert ["Sender A", "Sender B"] == organizations(zipped(a=data(report(one)), b=SECOND))


SMALL = Limits(document=10_000, archive=25_000, members=5, depth=3)
BOMBS: dict[str, Callable[[], bytes]] = {
    "a gzip bomb": lambda: gzip.compress(bytes(10**7)),
    "a large file": lambda: b"{" + b" " * 20_000,
    "many gzip members": lambda: gzip.compress(b" ", mtime=0) * 200,
    "gzip in gzip in gzip": lambda: gzip.compress(gzip.compress(gzip.compress(gzip.compress(JSON)))),
    "too many members": lambda: zipped(**{str(number): JSON for number in range(6)}),
    "a zip bomb": lambda: zipped(a=bytes(10**7)),
    "zip in zip": lambda: zipped(a=zipped(a=zipped(a=zipped(a=JSON)))),
    "a method that can't be held back": lambda: zipped(a=JSON, method=zipfile.ZIP_BZIP2),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_costs_no_more_than_the_limit_and_is_named(bomb: Callable[[], bytes]) -> None:
    """Size after decompression, number of members and depth are limited."""
    items = found_in(bomb(), SMALL)
    assert items
    assert all(isinstance(item, Unreadable) for item in items)


def test_a_large_archive_is_read_up_to_the_limit_and_said_to_be_cut() -> None:
    """Members that each fit may together be too much; what was left out is named."""
    items = found_in(zipped(**{str(number): JSON + b" " * 9000 for number in range(5)}), SMALL)
    assert ["Report", "Report", "Unreadable"] == [type(item).__name__ for item in items]
    assert "the rest was not read" in items[-1].reason


def test_what_is_nested_shares_the_limits_of_the_whole() -> None:
    """An archive of archives of archives costs no more than one archive, whatever each level says."""
    read_in_all: list[int] = []
    reader = containers_module._unwrap

    def measured(content: bytes, *arguments: Any) -> None:
        read_in_all.append(len(content))
        reader(content, *arguments)

    def nest(content: bytes) -> bytes:
        return zipped(**{str(number): content for number in range(4)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers_module, "_unwrap", measured)
        items = found_in(nest(nest(nest(JSON + b" " * 9000))), Limits(document=10_000, archive=50_000))
        assert sum(read_in_all) < 2 * 50_000
        assert "the rest was not read" in str(items[-1])
        read_in_all.clear()
        items = found_in(nest(nest(nest(JSON))), Limits(members=30))
        assert len([item for item in items if isinstance(item, Report)]) < 30
        assert "more than 30 members" in str(items[-1])
        found_in(nest(gzip.compress(bytes(9_999))[:-8]), Limits(document=10_000, archive=20_000))
        assert sum(size for size in read_in_all if size > 9000) <= 30_000


def test_each_input_has_the_limits_for_itself() -> None:
    """What one file cost is not taken from the next one, and of each the first hundred of what it holds are named."""
    items: list[Any] = []
    limits = Limits(archive=len(JSON) + len(SECOND), members=2)
    whole = Input(limits, items.append)
    for _ in range(2):
        read(zipped(a=JSON, b=SECOND), "file", Context(), whole)
        read(b"{}" * 101, "other", Context(), whole)
    assert (["Report"] * 2 + ["Unreadable"] * 101) * 2 == [type(item).__name__ for item in items]


def mbox(*contents: bytes, **options: str) -> bytes:
    """Return an mbox file of report mails."""
    return b"".join(
        b"From a@b Thu Jan  1 00:00:00 2026\n" + mail(one, **options).replace(b"\r\n", b"\n") + b"\n"
        for one in contents
    )


def test_a_mail_within_an_mbox_counts_as_signed_where_the_user_says_that_it_is_one() -> None:
    """Whoever writes a mail may write more entries into it; a file is no mbox because it looks like one."""
    content = mbox(JSON, SECOND, results="mx.example.com; dkim=pass header.d=sender.example")
    trusted = OriginCheck("mx.example.com")
    for stated, signers, warnings in (
        (False, ["sender.example", ""], [(), ("mbox-not-stated",)]),
        (True, ["sender.example"] * 2, [(), ()]),
    ):
        for file in (content, gzip.compress(content), zipped(a=content)):
            items: list[Any] = []
            read(file, "file", Context(origin=trusted, mbox=stated), Input(Limits(), items.append))
            assert signers == [item.signer for item in items]
            assert warnings == [item.warnings for item in items]


def test_a_mail_inside_a_mail_is_read() -> None:
    """A forwarded report counts, as part or as attached file."""
    message = EmailMessage()
    message["From"] = "me@example.com"
    message.set_content("fyi")
    message.add_attachment(message_from_bytes(mail(JSON)))
    assert ["Sender A"] == organizations(message.as_bytes())
    assert ["Sender A"] == organizations(attached(("application/octet-stream", "report.eml", mail(JSON))))


def test_an_mbox_may_quote_its_separator() -> None:
    """`>From ` at the start of a line of a mail is `From ` again."""
    quoted = mail(JSON).replace(b"This is a report.", b">From here it is a report.")
    assert ["Sender A", "Sender B"] == organizations(b"From x\n" + quoted + b"\nFrom x\n" + mail(SECOND))


@given(
    st.sampled_from([*WRAPPED.values(), *BOTH.values()]),
    st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=6)), max_size=3),
    st.integers(0, 60),
)
@settings(max_examples=300)
def test_damage_never_crashes_a_reader_and_never_reads_as_nothing(
    content: bytes, damage: list[tuple[int, bytes]], cut: int
) -> None:
    """Whatever bytes come in, something comes out: reports or reasons that somebody foresaw."""
    broken = bytearray(content[: len(content) - cut])
    for place, new in damage:
        broken[place : place + len(new)] = new
    items = found_in(bytes(broken))
    assert items
    assert [] == [item for item in items if isinstance(item, Unreadable) and item.reason.startswith(UNEXPECTED)]


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"From ", b"A: b\n", b"{", b"["])
)
def test_any_bytes_give_a_reason(content: bytes, start: bytes) -> None:
    """No input is silently nothing, and none is a clean report."""
    items = found_in(start + content)
    assert items
    assert all(isinstance(item, Unreadable) and not item.reason.startswith(UNEXPECTED) for item in items)


HEAD = b"From: a@b.example\r\nContent-Type: multipart/report; boundary=b\r\n\r\n"
PART = b"Content-Type: application/tlsrpt+json\r\n"
CODED = base64.b64encode(GZ)
ODD_MAILS = {
    "usual": HEAD + b"--b\r\n" + PART + b"\r\n" + JSON + b"\r\n--b--\r\n",
    "content that ends in a line end": HEAD + b"--b\r\n" + PART + b"\r\n" + JSON + b"\r\n\r\n--b--\r\n",
    "boundary inside a longer line": HEAD + b"--b\r\n" + PART + b"\r\n" + JSON + b"\r\n--bcd\r\n{}\r\n--b--\r\n",
    "no boundary at all": HEAD + JSON,
    "a header broken by a carriage return": (
        HEAD + b"--b\r\n" + PART[:-2] + b"\rContent-Transfer-Encoding: base64\r\n\r\n" + CODED + b"\r\n--b--\r\n"
    ),
    "a boundary in quotes": (
        HEAD.replace(b"boundary=b", b'x="boundary=c"; boundary=b')
        + b"--b\r\n\r\n{}\r\n--c\r\n\r\n{ }\r\n--c--\r\n--b--\r\n"
    ),
    "no end": HEAD + b"--b\r\n" + PART + b"\r\n" + JSON,
    "a header line that is none": HEAD + b"--b\r\n" + PART + b"no header\r\nmore\r\n\r\n" + JSON + b"\r\n--b--\r\n",
    "a top line that is none": HEAD.replace(b"\r\nC", b"\r\nno header\r\nC") + b"--b\r\n\r\n" + JSON + b"\r\n--b--\r\n",
    "coded": HEAD + b"--b\r\n" + PART + b"Content-Transfer-Encoding: base64\r\n\r\n" + CODED + b"\r\n--b--\r\n",
    "coded with other text": (
        HEAD
        + b"--b\r\n"
        + PART
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + CODED[:40]
        + b"=\r\n!"
        + CODED[40:]
        + b"\r\n--b--\r\n"
    ),
    "two types": HEAD + b"--b\r\n" + PART + b"Content-Type: text/html\r\n\r\n" + JSON + b"\r\n--b--\r\n",
    "bare carriage returns": (HEAD + b"--b\r\n" + PART + b"\r\n" + JSON + b"\r\n--b--\r\n").replace(
        b"\r\n--b", b"\r--b"
    ),
    "two boundaries": HEAD.replace(b"boundary=b", b"boundary=a; boundary=b") + b"--b\r\n\r\n" + JSON + b"\r\n--b--\r\n",
}


def parts_of_the_standard_library(raw: bytes) -> list[bytes]:
    """Return what the standard library makes of a mail."""
    message = message_from_bytes(raw)
    return [part.data for part in mail_module._any_parts(message, "", "", forwarded=False, depth=0)]


@pytest.mark.parametrize("raw", ODD_MAILS.values(), ids=ODD_MAILS.keys())
def test_odd_mails_have_the_parts_that_the_standard_library_finds(raw: bytes) -> None:
    """The fast reader leaves to it whatever it does not know."""
    fast = mail_module._flat_parts(raw)
    assert fast is None or parts_of_the_standard_library(raw) == [part.data for part in fast]


def test_a_report_after_hundreds_of_other_parts_is_read() -> None:
    """Parts that hold no report are no reason to look no further."""
    parts = b"--b\r\n\r\nx\r\n" * 500 + b"--b\r\n" + PART + b"\r\n" + JSON + b"\r\n--b--\r\n"
    assert ["Sender A"] == organizations(HEAD + parts)
    reports = b"".join(b"--b\r\n" + PART + b"\r\n" + JSON + b"\r\n" for _ in range(201))
    assert ["more than 200 parts in one mail"] == organizations(HEAD + reports + b"--b--\r\n")


NESTED = b"".join(
    b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (level, level + 1) for level in range(250)
)
COSTLY = {
    "lines": HEAD + b"--b\n\n" + b"x\n" * 1_000_000,
    "carriage returns": HEAD + b"--b\n\n" + b"x\r" * 1_000_000,
    "parts": HEAD + b"--b\n\nx\n" * 10_001,
    "lines in many levels": HEAD.replace(b"=b", b"=b0") + NESTED + b"x\n" * 20_000,
    "status blocks": b"A: b\nContent-Type: message/delivery-status\n\n" + b"a: b\n\n" * 25_000,
}


@pytest.mark.parametrize("raw", COSTLY.values(), ids=COSTLY.keys())
def test_a_mail_that_would_cost_minutes_is_named_before(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library takes hundreds of bytes a line, and time for each line in each part around it."""
    monkeypatch.setattr(mail_module, "message_from_bytes", None)
    assert ["more lines and parts in one mail than any report has"] == organizations(raw)


def test_usual_mails_take_the_fast_way() -> None:
    """Or the tests beside this one would prove nothing."""
    for name in ("usual", "content that ends in a line end", "coded"):
        assert len(mail_module._flat_parts(ODD_MAILS[name]) or []) == 1
    assert len(mail_module._flat_parts(mail(JSON)) or []) == 1


line = st.sampled_from(
    [
        "Content-Type: application/tlsrpt+json",
        "Content-Type: application/tlsrpt+gzip",
        "content-type: text/plain",
        "Content-Type: multipart/mixed; boundary=b",
        "Content-Type: message/rfc822",
        "Content-Transfer-Encoding: base64",
        "Content-Transfer-Encoding: 8bit",
        "Content-Transfer-Encoding: 7bit ",
        "Content-Disposition: attachment; filename=r.json",
        " folded: more",
        "no header",
        "--b",
        "--b--",
        "--bc",
        "--b ",
        "",
        "",
        JSON.decode(),
        base64.b64encode(GZ).decode(),
        base64.b64encode(JSON).decode()[:40],
    ]
)


@given(st.lists(line, max_size=14), st.sampled_from(["\n", "\r\n"]), st.booleans())
@settings(max_examples=400)
def test_the_fast_reader_of_mails_agrees_with_the_standard_library(lines: list[str], end: str, closed: bool) -> None:
    """Where the flat form is taken apart by us, the standard library finds the same parts."""
    top = ["From: a@b.example", "Content-Type: multipart/report; boundary=b", "", "--b"]
    raw = end.join([*top, *lines, *(["", "--b--", ""] if closed else [])]).encode()
    fast = mail_module._flat_parts(raw)
    if fast is None:
        return
    assert parts_of_the_standard_library(raw) == [part.data for part in fast]


@pytest.mark.parametrize(
    ("content", "reason"), [(JSON, f"larger than {len(JSON) - 1} bytes"), (GZ, "too large when decompressed")]
)
def test_one_byte_too_many_is_refused_as_that(content: bytes, reason: str) -> None:
    """The limit holds for the report itself, and the reason tells the user which option to raise."""
    assert ["Sender A"] == [
        item.organization for item in found_in(content, Limits(len(JSON))) if isinstance(item, Report)
    ]
    (item,) = found_in(content, Limits(len(JSON) - 1))
    assert isinstance(item, Unreadable)
    assert reason in item.reason


def test_a_member_that_states_too_much_is_not_decompressed() -> None:
    """It costs nothing of what the archive may cost, so that it hides nothing beside it."""
    members = {f"large{number}": b" " * 3001 for number in range(5)}
    *refused, found = found_in(zipped(**members, small=JSON), Limits(document=3000, archive=3000))
    assert isinstance(found, Report)
    assert {"larger than 3000 bytes"} == {item.reason for item in refused if isinstance(item, Unreadable)}


def test_an_archive_of_too_many_members_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its directory alone would take all memory."""
    content = zipped(a=JSON, b=JSON, c=JSON)
    monkeypatch.setattr(containers_module.zipfile, "ZipFile", Mock(side_effect=AssertionError))
    (item,) = found_in(content, Limits(members=2))
    assert isinstance(item, Unreadable)
    assert "more than 2 members in the archive" == item.reason
