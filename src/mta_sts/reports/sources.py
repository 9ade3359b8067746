"""Where reports lie: files, folders, Maildirs, mbox files and archives of any size, and S3."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.reports.containers import Unreadable, mbox_message, read, read_zip
from mta_sts.reports.parse import ReportError, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from types_boto3_s3 import S3Client

    from mta_sts.reports.containers import Context, Emit

BATCH = 2048
"""Files or objects in one piece of work."""
_PIECE = 8 * 2**20
_OWN_WORK = 2**18
"""Bytes above which a file is work of its own: it may hold thousands of reports."""
_BLOCK = 2**16
_S3_THREADS = 8
_S3_PATH = re.compile(r"s3://([^/]+)/?(.*)", re.DOTALL)
_SMALL = (".json", ".json.gz", ".eml")
"""Names of files that hold one report, so that nobody needs to look at their size first."""
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe must not block us
_MAIL_FOLDERS = ("cur", "new")


class Work(NamedTuple):
    """One piece of work for one process: some files, one archive, one range of an mbox file, some S3 objects."""

    kind: str
    place: str
    names: tuple[str, ...] = ()
    start: int = 0
    end: int = 0


def pieces(places: Iterable[str], s3: S3Client | None = None) -> Iterator[Work | Unreadable]:
    """Yield the work that reading `places` takes, while looking for it; a place without a file is unreadable."""
    batch: list[str] = []
    for place in places:
        empty = True
        for item in _s3_pieces(place, s3) if place.startswith("s3://") else _files(place):
            empty = False
            if not isinstance(item, str):
                yield item
                continue
            batch.append(item)
            if len(batch) >= BATCH:
                yield Work("files", "", tuple(batch))
                batch = []
        if empty:
            yield Unreadable(place, "there is no file in it")
    if batch:
        yield Work("files", "", tuple(batch))


def _files(place: str) -> Iterator[str | Work | Unreadable]:
    """Yield small files by name, and large ones as work of their own; what can't be opened is named.

    Of a Maildir only the mails: beside `cur` and `new` lie the mail server's indexes, and `tmp` holds halves.
    """
    if not Path(place).is_dir():
        try:
            yield from _file(place, Path(place).stat().st_size)
        except OSError as error:
            yield _cannot(place, error)
        return
    folders = [place]
    while folders:
        folder = folders.pop()
        maildir = all(Path(folder, name).is_dir() for name in _MAIL_FOLDERS)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not (maildir and entry.name == "tmp"):
                            folders.append(entry.path)
                    elif entry.name.endswith(_SMALL):
                        yield entry.path
                    elif not maildir and not entry.name.startswith("."):
                        yield from _file(entry.path, entry.stat().st_size)
        except OSError as error:
            yield _cannot(folder, error)


def _cannot(name: str, error: OSError) -> Unreadable:
    return Unreadable(name, f"cannot be read: {error.strerror or clean(str(error))}")


def _file(path: str, size: int) -> Iterator[str | Work]:
    if size <= _OWN_WORK:
        yield path
        return
    with Path(path).open("rb") as file:
        head = file.read(5)
    if head == b"From ":
        for start in range(0, size, _PIECE):
            yield Work("mbox", path, (), start, min(start + _PIECE, size))
    elif head.startswith(b"PK"):
        yield Work("zip", path)
    else:
        yield Work("files", "", (path,))


def _s3_pieces(place: str, s3: S3Client | None) -> Iterator[str | Work | Unreadable]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  heavy: only when S3 is read

    bucket, prefix = split_s3(place)
    batch: list[str] = []
    try:
        for page in (s3 or s3_client()).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    batch.append(item["Key"])
                if len(batch) >= BATCH:
                    yield Work("s3", bucket, tuple(batch))
                    batch = []
    except (ClientError, BotoCoreError) as error:
        yield Unreadable(place, f"cannot be listed: {clean(str(error))}")
    if batch:
        yield Work("s3", bucket, tuple(batch))


def split_s3(place: str) -> tuple[str, str]:
    """Return bucket and key prefix of `s3://bucket/prefix`; raises ValueError where there is no bucket."""
    match = _S3_PATH.fullmatch(place)
    if match is None:
        raise ValueError(f"not an S3 place: {place!r}; write s3://BUCKET/PREFIX")
    return match[1], match[2]


@lru_cache(maxsize=1)
def s3_client() -> S3Client:
    """Return an S3 client with the settings of the environment (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL …)."""
    import boto3  # noqa: PLC0415  heavy: only when S3 is read

    return boto3.client("s3")


def work_through(work: Work, context: Context, emit: Emit, s3: S3Client | None = None) -> int:
    """Do one piece of work: emit what is found, and return the number of files, mails and objects looked at."""
    if work.kind == "files":
        for name in work.names:
            _guarded(name, emit, _read_file, name, context, emit)
    elif work.kind == "mbox":
        return _read_mbox(work, context, emit)
    elif work.kind == "zip":
        _guarded(work.place, emit, _read_zip, work.place, context, emit)
    else:
        client = s3 or s3_client()
        with ThreadPoolExecutor(_S3_THREADS) as pool:
            contents = pool.map(lambda key: _object(client, work.place, key, context.limits.document), work.names)
            for key, content in zip(work.names, contents, strict=True):
                name = f"s3://{work.place}/{key}"
                if isinstance(content, str):
                    emit(Unreadable(name, content))
                else:
                    _guarded(name, emit, read, content, name, context, emit)
    return max(len(work.names), 1)


def _guarded(name: str, emit: Emit, function: Callable[..., None], *arguments: Any) -> None:
    """Call a reader; whatever a stranger wrote, it ends as a named unreadable file, never as a crash."""
    try:
        function(*arguments)
    except OSError as error:
        emit(_cannot(name, error))
    except ReportError as error:
        emit(Unreadable(name, str(error)))
    except Exception as error:  # noqa: BLE001  see above; the fuzz test runs without this net
        emit(Unreadable(name, f"cannot be read: {type(error).__name__}: {clean(str(error))}"))


def _read_file(name: str, context: Context, emit: Emit) -> None:
    limit = context.limits.document + 1
    descriptor = os.open(name, _OPEN)
    try:
        data = os.read(descriptor, _BLOCK)
        if len(data) == _BLOCK:
            parts = [data]
            while data and sum(map(len, parts)) < limit:
                data = os.read(descriptor, _BLOCK)
                parts.append(data)
            data = b"".join(parts)
    finally:
        os.close(descriptor)
    read(data, name, context, emit)


def _read_zip(name: str, context: Context, emit: Emit) -> None:
    with Path(name).open("rb") as file:
        read_zip(file, name, context, emit)


def _read_mbox(work: Work, context: Context, emit: Emit) -> int:
    """Emit what the mails hold whose first line lies in the range of an mbox file; return their number."""
    mails = 0
    try:
        for begin, mail in _mails(work, context.limits.document):
            mails += 1
            name = f"{work.place}@{begin}"
            if mail is None:
                emit(Unreadable(name, f"larger than {context.limits.document} bytes"))
            else:
                _guarded(name, emit, read, mbox_message(mail), name, context, emit)
    except OSError as error:
        emit(_cannot(work.place, error))
    return mails


def _mails(work: Work, limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield offset and bytes of each mail of a range, None for bytes beyond the limit."""
    with Path(work.place).open("rb", buffering=2**20) as file:
        file.seek(max(work.start - 1, 0))
        if work.start:
            while not file.readline(_BLOCK).endswith(b"\n"):  # the rest of the line that the range begins in
                if file.tell() >= work.end:
                    return
        begin, offset, size = -1, file.tell(), 0
        lines: list[bytes] = []
        line_begins = True
        while line := file.readline(_BLOCK):
            if line_begins and line.startswith(b"From "):
                if begin >= 0:
                    yield begin, b"".join(lines) if size <= limit else None
                begin, size, lines = offset, 0, []
            if (begin < 0 or begin == offset) and offset >= work.end:
                return
            line_begins = line.endswith(b"\n")
            offset += len(line)
            if begin >= 0:
                size += len(line)
                if size <= limit:
                    lines.append(line)
        if begin >= 0:
            yield begin, b"".join(lines) if size <= limit else None


def _object(client: S3Client, bucket: str, key: str, limit: int) -> bytes | str:
    """Return the content of an S3 object, or why there is none."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  heavy: only when S3 is read

    try:
        body: Any = client.get_object(Bucket=bucket, Key=key)["Body"]
        try:
            content: bytes = body.read(limit + 1)
        finally:
            with suppress(OSError):
                body.close()
    except (ClientError, BotoCoreError, OSError) as error:
        return f"cannot be read: {clean(str(error))}"
    return content
