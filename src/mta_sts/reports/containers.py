"""What reports come wrapped in: gzip, zip, mail and mbox, told apart by their first bytes, never by name.

Senders label reports wrongly (RFC 8460 §5.3 and what is seen in the wild), so names and content types decide
nothing. What one input may cost is limited, however it is nested, and what is beyond a limit is named as unreadable.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from mta_sts.reports.mail import looks_like_mail, report_parts
from mta_sts.reports.parse import Report, ReportError, clean, documents, parse_report

if TYPE_CHECKING:
    from mta_sts.reports.origin import OriginCheck

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_MAX_GZIP_MEMBERS = 100
_MAX_NAMED = 100
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DIRECTORY_ENTRY = b"PK\x01\x02"
_MBOX_LINE = re.compile(rb"^From ", re.MULTILINE)
UNEXPECTED = "cannot be read"
"""How the reason begins where a library met what nobody foresaw."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one input (a file, an object, a mail of an mbox file) may cost; sizes are bytes after decompression."""

    document: int = 20 * 2**20
    """One report, mail or archive member: twice what other readers accept."""
    archive: int = 2**30
    """All that is decompressed in one input, on every level."""
    members: int = 100_000
    """Members of archives and mails of mbox files in one input, on every level."""
    depth: int = 6
    """Wrappings inside one another: mail, zip, gzip, gzip in gzip, forwarded mail."""


class Unreadable(NamedTuple):
    """Something that was read and can't be counted: its name and why."""

    name: str
    reason: str


Emit = Callable[[Report | Unreadable], None]
"""Who is told of each item found; a call and not an iterator, since this is where the time goes."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is asked of every document, and what the mail around one says about it.

    `mbox` is the user's word that an mbox file quotes the lines of its mails that begin with "From ".
    `piece` marks a mail that may have been written into another one.
    """

    origin: OriginCheck | None = None
    mbox: bool = False
    piece: bool = False
    in_mail: bool = False
    domain: str = ""
    submitter: str = ""
    signer: str = ""
    warnings: tuple[str, ...] = ()


class Input:
    """One input after another while it is read: what it may still cost, and whom to tell what is found in it.

    Of what can't be read the first hundred are told by name and the rest by their number: a few bytes can hold
    millions.
    """

    def __init__(self, limits: Limits, emit: Emit) -> None:
        self.limits = limits
        self.found = emit
        self._bytes = self._members = self._unreadable = 0

    def unreadable(self, name: str, error: Exception | str) -> None:
        """Tell what can't be counted, and why."""
        self._unreadable += 1
        if self._unreadable <= _MAX_NAMED:
            self.found(Unreadable(name, why(error) if isinstance(error, Exception) else error))

    def end(self, name: str) -> None:
        """Tell how many were not named, and be ready for the next input."""
        if self._unreadable > _MAX_NAMED:
            self.found(Unreadable(name, f"{self._unreadable - _MAX_NAMED} more in it could not be read"))
        self._bytes = self._members = self._unreadable = 0

    def spend(self, size: int) -> None:
        """Count bytes that come next, before they are made; raises ReportError where they are too many."""
        self._bytes += size
        if self._bytes > self.limits.archive:
            raise ReportError(f"larger than {self.limits.archive} bytes when decompressed; the rest was not read")

    def enter(self, members: int) -> None:
        """Count members that come next, before they are read; raises ReportError where they are too many."""
        self._members += members
        if self._members > self.limits.members:
            raise ReportError(f"more than {self.limits.members} members; the rest was not read")


def why(error: Exception) -> str:
    """Return the reason for a user: our own words, or those of whoever met what nobody foresaw."""
    if isinstance(error, ReportError):
        return str(error)
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, OSError):
        return f"{UNEXPECTED}: {error.strerror or clean(str(error))}"
    return f"{UNEXPECTED}: {type(error).__name__}: {clean(str(error))}"


def read(data: bytes, name: str, context: Context, whole: Input) -> None:
    """Tell of every report in one input, and of everything in it that could not be read; never of nothing at all."""
    _read(data, name, context, whole, 0)
    whole.end(name)


def read_archive(file: BinaryIO, name: str, context: Context, whole: Input) -> None:
    """Tell as `read` does of what is in a zip archive that is too large for memory."""
    try:
        _zip(file, name, context, whole, 1)
    except Exception as error:  # noqa: BLE001  as in _read
        whole.unreadable(name, error)
    whole.end(name)


def _read(data: bytes, name: str, context: Context, whole: Input, depth: int) -> None:
    try:
        _unwrap(data, name, context, whole, depth)
    except Exception as error:  # noqa: BLE001  whatever a stranger wrote, what lies beside it is read all the same
        whole.unreadable(name, error)


def _unwrap(data: bytes, name: str, context: Context, whole: Input, depth: int) -> None:
    limits = whole.limits
    while data[:2] == _GZIP and depth <= limits.depth:
        data, warning = gunzip(data, whole)
        if warning:
            context = replace(context, warnings=(*context.warnings, warning))
        depth += 1
    if depth > limits.depth:
        raise ReportError(f"wrapped more than {limits.depth} times")
    if len(data) > limits.document:
        raise ReportError(f"larger than {limits.document} bytes")
    if data[:1] == b"{":
        _documents(data, name, context, whole)
    elif data[:4] in _ZIP:
        if data.count(_DIRECTORY_ENTRY) > limits.members:  # or reading its directory alone takes all memory
            raise ReportError(f"more than {limits.members} members in the archive")
        _zip(io.BytesIO(data), name, context, whole, depth + 1)
    elif data[:5] == b"From ":
        _mbox(data, name, context, whole, depth + 1)
    elif looks_like_mail(data):
        _mail(data, name, context, whole, depth + 1)
    else:
        _documents(data, name, context, whole)


def _documents(data: bytes, name: str, context: Context, whole: Input) -> None:
    for document in documents(data):
        if not isinstance(document, dict):
            whole.unreadable(name, document)
            continue
        try:
            report = parse_report(document, name, context)
        except Exception as error:  # noqa: BLE001  as in _read
            whole.unreadable(name, error)
        else:
            whole.found(report)


def gunzip(data: bytes, whole: Input) -> tuple[bytes, str]:
    """Return the content of gzip `data`, and a warning for bytes that follow it.

    Raises ReportError where it is damaged, cut off or larger than one document may be.
    """
    content, rest = _gzip_member(data, whole, whole.limits.document)
    if not rest:
        return content, ""
    parts, size = [content], len(content)
    while rest[:2] == _GZIP:
        if len(parts) == _MAX_GZIP_MEMBERS:
            raise ReportError(f"more than {_MAX_GZIP_MEMBERS} gzip members")
        content, rest = _gzip_member(rest, whole, whole.limits.document - size)
        parts.append(content)
        size += len(content)
    return b"".join(parts), "bytes-after-gzip" if rest else ""


def _gzip_member(data: bytes, whole: Input, limit: int) -> tuple[bytes, bytes]:
    """Return the content of the gzip member at the beginning of `data`, up to `limit` bytes, and what follows it."""
    member = zlib.decompressobj(31)
    try:
        content = member.decompress(data, limit + 1)
    except zlib.error as error:
        whole.spend(limit)
        raise ReportError(f"damaged gzip: {clean(str(error))}") from error
    whole.spend(len(content))
    if len(content) > limit:
        raise ReportError("too large when decompressed")
    if not member.eof:
        raise ReportError("gzip data is cut off")
    return content, member.unused_data


def _zip(file: BinaryIO, name: str, context: Context, whole: Input, depth: int) -> None:
    limits = whole.limits
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise ReportError(f"damaged zip: {clean(str(error))}") from error
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if not members:
            raise ReportError("the zip archive is empty")
        whole.enter(len(members))
        for member in members:
            inner = f"{name}!{clean(member.filename)}"
            # zipfile gives no more than the size that the directory states, but only deflate is held back early.
            if member.file_size > limits.document:
                whole.unreadable(inner, f"larger than {limits.document} bytes")
                continue
            if member.compress_type not in _COMPRESSIONS:
                whole.unreadable(inner, f"compressed by method {member.compress_type}, which no report uses")
                continue
            whole.spend(member.file_size)
            try:
                with archive.open(member) as stream:
                    data = stream.read(member.file_size + 1)
            # Encrypted, wrong checksum, cut off: zipfile has no common error for these.
            except Exception as error:  # noqa: BLE001
                whole.unreadable(inner, f"damaged zip member: {clean(str(error)) or type(error).__name__}")
                continue
            _read(data, inner, context, whole, depth)


def _mbox(data: bytes, name: str, context: Context, whole: Input, depth: int) -> None:
    whole.enter(1 + data.count(b"\nFrom "))
    starts = [match.start() for match in _MBOX_LINE.finditer(data)]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(data)], strict=True), 1):
        _read(mbox_message(data[start:end]), f"{name}#{number}", mbox_entry(context, start), whole, depth)


def mbox_message(chunk: bytes) -> bytes:
    """Return the mail of one mbox entry: without its "From " line, and with quoted ones restored."""
    return re.sub(rb"^>(>*From )", rb"\1", chunk.partition(b"\n")[2], flags=re.MULTILINE)


def mbox_entry(context: Context, start: int) -> Context:
    """Return the context of the mail that begins at that byte of an mbox file."""
    return context if context.mbox or not start else replace(context, piece=True)


def _mail(data: bytes, name: str, context: Context, whole: Input, depth: int) -> None:
    # A mail inside another one proves nothing: who sent the outer one may have written all of the inner one.
    signer = context.origin.signer(data) if context.origin and not context.in_mail else ""
    warnings = context.warnings
    if signer and context.piece and context.origin and not context.origin.verify:
        signer, warnings = "", (*warnings, "mbox-not-stated")
    for part in report_parts(data):
        inside = replace(
            context,
            in_mail=True,
            domain=part.domain,
            submitter=part.submitter,
            signer="" if part.forwarded else signer,
            warnings=warnings,
        )
        _read(part.data, f"{name}!{part.label}", inside, whole, depth)
