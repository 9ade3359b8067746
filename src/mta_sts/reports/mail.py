"""The parts of a report mail (RFC 8460 §5.3), as senders, gateways and people who forward them build it.

The usual form, one flat multipart with base64 or plain parts, is taken apart here, because the standard
library needs forty times as long; whatever differs from it in anything goes to the standard library.
"""

from __future__ import annotations

import binascii
import re
from email import message_from_bytes
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.reports.parse import ReportError, clean

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_PARTS = 200
_MAX_NESTING = 20
_MAX_LINE_ENDS = 1_000_000
_MAX_BOUNDARY_LINES = 10_000
_MAX_EFFORT = 5_000_000
"""Lines times nested parts: the standard library compares each line with each boundary around it."""
_STATUS_EFFORT = 100
_FIRST_LINE = re.compile(rb"[A-Za-z][A-Za-z0-9_.-]*:")
_HEADER_BLOCK = re.compile(rb"(?:[\x21-\x39\x3b-\x7e]+:[^\n]*\n(?:[ \t][^\n]*\n)*)*")
_FLAT = re.compile(rb"multipart/(?:report|mixed|related)[ \t\r\n]*;", re.IGNORECASE)
_BOUNDARY = re.compile(rb'boundary=(?:"([^"\\\r\n]*[^"\\\r\n ])"|([A-Za-z0-9._=/+-]+)(?=[ \t\r\n;]|$))', re.IGNORECASE)
_AFTER_BOUNDARY = re.compile(rb"(--)?[ \t]*\r?(?:\n|\Z)")
_FILE_NAME = re.compile(rb'name="?([^";\r\n]+)', re.IGNORECASE)
_ARCHIVES = (b"\x1f\x8b", b"PK")
_REPORT_NAMES = (".json", ".gz", ".zip", ".eml")


class Part(NamedTuple):
    """One part that may hold a report; a forwarded one came inside another mail, whose signature is not its own."""

    label: str
    data: bytes
    domain: str
    submitter: str
    forwarded: bool


def looks_like_mail(data: bytes) -> bool:
    """Tell whether the first line is a header field."""
    return _FIRST_LINE.match(data) is not None


def report_parts(data: bytes) -> list[Part]:
    """Return the parts of a mail that may hold a report; raises ReportError where none does."""
    parts = _flat_parts(data)
    if parts is None:
        _refuse_costly(data)
        parts = list(_any_parts(message_from_bytes(data), "", "", forwarded=False, depth=0))
    if len(parts) > _MAX_PARTS:
        raise ReportError(f"more than {_MAX_PARTS} parts in one mail")
    if not parts:
        raise ReportError("a mail without a TLS report")
    return parts


def _refuse_costly(data: bytes) -> None:
    """Raise ReportError for what would cost the standard library minutes or hundreds of megabytes."""
    lower = data.lower()
    line_ends = data.count(b"\n") + data.count(b"\r")
    nested = lower.count(b"boundary") + lower.count(b"message/") + _STATUS_EFFORT * lower.count(b"/delivery-status")
    boundary_lines = data.count(b"\n--") + data.count(b"\r--")
    if line_ends > _MAX_LINE_ENDS or boundary_lines > _MAX_BOUNDARY_LINES or line_ends * nested > _MAX_EFFORT:
        raise ReportError("more lines and parts in one mail than any report has")


def header_fields(headers: bytes, name: bytes) -> list[bytes]:
    """Return the values of every field of that name (lower case), top first; folding white space is kept."""
    block = b"\n" + headers
    lower = block.lower()
    needle = b"\n" + name + b":"
    values = []
    start = lower.find(needle)
    while start != -1:
        start += len(needle)
        end = block.find(b"\n", start)
        while end != -1 and block[end + 1 : end + 2] in {b" ", b"\t"}:
            end = block.find(b"\n", end + 1)
        values.append(block[start : end if end != -1 else len(block)].strip())
        start = lower.find(needle, end) if end != -1 else -1
    return values


def header_block(data: bytes) -> bytes:
    """Return the header of a mail or part, up to the empty line, with the line end before it."""
    ends = [end for end in (data.find(b"\n\n"), data.find(b"\n\r\n")) if end != -1]
    return data[: min(ends) + 1] if ends else data


def _flat_parts(data: bytes) -> list[Part] | None:
    """Take apart a flat multipart, or return None where the mail is anything else."""
    headers = header_block(data)
    boundary = _flat_boundary(headers) if data.count(b"\r") == data.count(b"\r\n") else None
    if boundary is None:
        return None
    domain = _text(header_fields(headers, b"tls-report-domain"))
    submitter = _text(header_fields(headers, b"tls-report-submitter"))
    pieces = data[len(headers) :].split(b"\n--" + boundary, _MAX_PARTS + 2)
    parts: list[Part] = []
    for piece in pieces[1:]:
        line = _AFTER_BOUNDARY.match(piece)
        if line is None:
            return None
        if line[1]:
            return parts
        part = _flat_part(piece[line.end() :])
        if part is None:
            return None
        label, payload, expected = part
        if expected or _may_be_report(payload):
            parts.append(Part(label, payload, domain, submitter, forwarded=False))
    return None  # the closing boundary is missing


def _flat_boundary(headers: bytes) -> bytes | None:
    kinds = header_fields(headers, b"content-type")
    if len(kinds) != 1 or not _FLAT.match(kinds[0]) or not _HEADER_BLOCK.fullmatch(headers):
        return None
    boundary = _BOUNDARY.search(kinds[0])
    if boundary is None or kinds[0].lower().count(b"boundary") != 1:
        return None
    return boundary[1] or boundary[2]


def _flat_part(piece: bytes) -> tuple[str, bytes, bool] | None:
    """Return label, decoded content, and whether it claims to be a report; None for any unusual form."""
    if piece.startswith((b"\n", b"\r\n")):
        headers = b""
    else:
        headers = header_block(piece)
        if len(headers) == len(piece) or not _HEADER_BLOCK.fullmatch(headers):
            return None
    kinds = header_fields(headers, b"content-type")
    encodings = header_fields(headers, b"content-transfer-encoding")
    kind = kinds[0].partition(b";")[0].strip().lower() if kinds else b"text/plain"
    if kind.startswith((b"multipart/", b"message/")) or b"/" not in kind:
        return None
    encoding = encodings[0].lower() if encodings else b"7bit"
    payload = piece[len(headers) :].partition(b"\n")[2]
    if payload.endswith(b"\r"):  # belongs to the boundary that follows
        payload = payload[:-1]
    if encoding == b"base64":
        try:
            payload = binascii.a2b_base64(b"".join(payload.split()), strict_mode=True)
        except binascii.Error:
            return None
    elif encoding not in {b"7bit", b"8bit", b"binary"}:
        return None
    names = _FILE_NAME.search(headers)
    label = clean((names[1] if names else kind).decode("utf-8", "replace"))
    return label, payload, _claims_report(kind.decode("ascii", "replace"), label)


def _any_parts(message: Any, domain: str, submitter: str, *, forwarded: bool, depth: int) -> Iterator[Part]:
    """Take apart any mail by the standard library."""
    if depth > _MAX_NESTING:
        raise ReportError(f"mail parts nested more than {_MAX_NESTING} deep")
    domain = clean(str(message.get("TLS-Report-Domain", ""))) or domain
    submitter = clean(str(message.get("TLS-Report-Submitter", ""))) or submitter
    kind = message.get_content_type()
    payload = message.get_payload()
    if isinstance(payload, list):
        forwarded = forwarded or kind.startswith("message/")
        for part in payload:
            yield from _any_parts(part, domain, submitter, forwarded=forwarded, depth=depth + 1)
        return
    content = message.get_payload(decode=True)
    if not isinstance(content, bytes):
        return
    label = clean(message.get_filename()) or kind
    if _claims_report(kind, label) or _may_be_report(content):
        yield Part(label, content, domain, submitter, forwarded)


def _claims_report(kind: str, label: str) -> bool:
    return "tlsrpt" in kind or label.lower().endswith(_REPORT_NAMES)


def _may_be_report(content: bytes) -> bool:
    return content.startswith(_ARCHIVES) or content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _text(values: list[bytes]) -> str:
    return clean(values[0].decode("utf-8", "replace")) if values else ""
