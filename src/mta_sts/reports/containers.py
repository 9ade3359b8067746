"""What reports come wrapped in: gzip, zip, mail and mbox, told apart by their first bytes, never by name.

Senders label reports wrongly (RFC 8460 §5.3 and what is seen in the wild), so names and content types decide
nothing. Sizes, counts and depth are limited, and what is beyond a limit is named as unreadable.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from mta_sts.reports.mail import looks_like_mail, report_parts
from mta_sts.reports.parse import Report, ReportError, clean, documents, parse_report

if TYPE_CHECKING:
    from mta_sts.reports.origin import OriginCheck

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MAX_GZIP_MEMBERS = 100
_MBOX_LINE = re.compile(rb"^From ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one input may cost; sizes are bytes after decompression."""

    document: int = 20 * 2**20
    """One report, mail or archive member: twice what other readers accept."""
    archive: int = 2**30
    """All members of one archive together."""
    members: int = 100_000
    depth: int = 6
    """Wrappings inside one another: mail, zip, gzip, gzip in gzip, forwarded mail."""


class Unreadable(NamedTuple):
    """Something that was read and can't be counted: its name and why."""

    name: str
    reason: str


class Found(NamedTuple):
    """A report, where it was found and whose valid signature it came with (a domain, or nothing)."""

    report: Report
    name: str
    signer: str


Emit = Callable[[Found | Unreadable], None]
"""Who is told of each item found; a call and not an iterator, since this is where the time goes."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is asked of every document, and what the mail around one says about it."""

    limits: Limits = field(default_factory=Limits)
    origin: OriginCheck | None = None
    in_mail: bool = False
    domain: str = ""
    submitter: str = ""
    signer: str = ""


def read(data: bytes, name: str, context: Context, emit: Emit, depth: int = 0) -> None:
    """Emit every report in `data`, and everything in it that could not be read; never nothing at all."""
    try:
        _read(data, name, context, emit, depth)
    except ReportError as error:
        emit(Unreadable(name, str(error)))
    except RecursionError:
        emit(Unreadable(name, "nested too deeply"))


def _read(data: bytes, name: str, context: Context, emit: Emit, depth: int) -> None:
    limits = context.limits
    warning = ""
    while data[:2] == _GZIP and depth <= limits.depth:
        data, trailing = gunzip(data, limits.document)
        warning = warning or trailing
        depth += 1
    if depth > limits.depth:
        raise ReportError(f"wrapped more than {limits.depth} times")
    if len(data) > limits.document:
        raise ReportError(f"larger than {limits.document} bytes")
    if data[:1] == b"{":
        _documents(data, name, context, emit, warning)
    elif data[:4] in _ZIP:
        read_zip(io.BytesIO(data), name, context, emit, depth + 1)
    elif data[:5] == b"From ":
        _mbox(data, name, context, emit, depth + 1)
    elif looks_like_mail(data):
        _mail(data, name, context, emit, depth + 1)
    else:
        _documents(data, name, context, emit, warning)


def _documents(data: bytes, name: str, context: Context, emit: Emit, warning: str) -> None:
    for document in documents(data):
        if isinstance(document, ReportError):
            emit(Unreadable(name, str(document)))
            continue
        try:
            report = parse_report(document, domain=context.domain, submitter=context.submitter)
        except ReportError as error:
            emit(Unreadable(name, str(error)))
            continue
        if warning:
            report = report._replace(warnings=tuple(sorted({*report.warnings, warning})))
        emit(Found(report, name, context.signer))


def gunzip(data: bytes, limit: int) -> tuple[bytes, str]:
    """Return the content of gzip `data`, and a warning for bytes that follow it.

    Raises ReportError where it is damaged, cut off or larger than `limit` bytes.
    """
    parts: list[bytes] = []
    for _ in range(_MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(31)
        try:
            content = member.decompress(data, limit + 1)
        except zlib.error as error:
            raise ReportError(f"damaged gzip: {clean(str(error))}") from error
        limit -= len(content)
        if limit < 0:
            raise ReportError("too large when decompressed")
        if not member.eof:
            raise ReportError("gzip data is cut off")
        data = member.unused_data
        if not data and not parts:
            return content, ""
        parts.append(content)
        if data[:2] != _GZIP:
            return b"".join(parts), "bytes-after-gzip" if data else ""
    raise ReportError(f"more than {_MAX_GZIP_MEMBERS} gzip members")


def read_zip(file: BinaryIO, name: str, context: Context, emit: Emit, depth: int = 1) -> None:
    """Yield what the members of a zip archive hold; raises ReportError where the archive itself is no good."""
    limits = context.limits
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ReportError(f"damaged zip: {clean(str(error))}") from error
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if not members:
            raise ReportError("the zip archive is empty")
        if len(members) > limits.members:
            raise ReportError(f"more than {limits.members} members in the archive")
        total = 0
        for member in members:
            inner = f"{name}!{clean(member.filename)}"
            if total > limits.archive:
                emit(Unreadable(name, f"larger than {limits.archive} bytes when decompressed; the rest was not read"))
                return
            try:
                with archive.open(member) as stream:
                    data = stream.read(limits.document + 1)
            # Encrypted, unknown compression, wrong checksum, cut off: zipfile has no common error for these.
            except (
                zipfile.BadZipFile,
                NotImplementedError,
                RuntimeError,
                ValueError,
                OSError,
                EOFError,
                zlib.error,
            ) as error:
                emit(Unreadable(inner, f"damaged zip member: {clean(str(error)) or type(error).__name__}"))
                continue
            total += len(data)
            read(data, inner, context, emit, depth)


def _mbox(data: bytes, name: str, context: Context, emit: Emit, depth: int) -> None:
    starts = [match.start() for match in _MBOX_LINE.finditer(data)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True), 1):
        read(mbox_message(data[start:end]), f"{name}#{number}", context, emit, depth)


def mbox_message(chunk: bytes) -> bytes:
    """Return the mail of one mbox entry: without its "From " line, and with quoted ones restored."""
    return re.sub(rb"^>(>*From )", rb"\1", chunk.partition(b"\n")[2], flags=re.MULTILINE)


def _mail(data: bytes, name: str, context: Context, emit: Emit, depth: int) -> None:
    # A mail inside another one proves nothing: who sent the outer one may have written all of the inner one.
    signer = context.origin.signer(data) if context.origin and not context.in_mail else ""
    for part in report_parts(data):
        inside = replace(
            context,
            in_mail=True,
            domain=part.domain,
            submitter=part.submitter,
            signer="" if part.forwarded else signer,
        )
        read(part.data, f"{name}!{part.label}", inside, emit, depth)
