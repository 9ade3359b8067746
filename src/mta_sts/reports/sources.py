"""Where reports lie: files, folders, Maildirs, mbox files and archives of any size, and S3."""

from __future__ import annotations

import os
import re
import stat
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.reports.containers import Limits, Unreadable, mbox_entry, mbox_message, read, read_archive, why
from mta_sts.reports.parse import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future

    from types_boto3_s3 import S3Client

    from mta_sts.reports.containers import Context, Input

BATCH = 2048
"""Files or objects in one piece of work."""
_PIECE = 8 * 2**20
_OWN_WORK = 2**18
"""Bytes above which a file is work of its own: it may hold thousands of reports."""
_BLOCK = 2**15
_S3_THREADS = 8
_S3_AHEAD = 16
_MBOX = "mbox:"
_S3_PATH = re.compile(r"s3://([^/]+)/?(.*)", re.DOTALL)
_SMALL = (".json", ".json.gz", ".eml")
"""Names of files that hold one report, so that nobody needs to look at their size first."""
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe must not block us
_MAIL_FOLDERS = ("cur", "new")
_HEADS = (b"\x1f\x8b", b"PK", b"From ", b"{")


class Work(NamedTuple):
    """One piece of work for one process: some files, one archive, one range of an mbox file, some S3 objects, bytes.

    `mbox` is the user's word that mbox files in it quote what looks like the beginning of a mail.
    """

    kind: str
    place: str
    names: tuple[str, ...] = ()
    start: int = 0
    end: int = 0
    content: bytes = b""
    mbox: bool = False


def pieces(
    places: Iterable[str], s3: S3Client | None = None, limit: int = Limits().document
) -> Iterator[Work | Unreadable]:
    """Yield the work that reading `places` takes, while looking for it; a place without a file is unreadable.

    What is read right here, since no other process can (a pipe), is read up to `limit` bytes.
    """
    batches: dict[bool, list[str]] = {False: [], True: []}
    for given in places:
        place, mbox = stated(given)
        batch = batches[mbox]
        empty = True
        for item in _s3_pieces(place, s3) if place.startswith("s3://") else _files(place, limit):
            empty = False
            if isinstance(item, str):
                batch.append(item)
                if len(batch) >= BATCH:
                    yield Work("files", "", tuple(batch), mbox=mbox)
                    batch.clear()
            elif isinstance(item, Work):
                yield item._replace(mbox=mbox)
            else:
                yield item
        if empty:
            yield Unreadable(place, "there is no file in it")
    for mbox, batch in batches.items():
        if batch:
            yield Work("files", "", tuple(batch), mbox=mbox)


def stated(place: str) -> tuple[str, bool]:
    """Return a place as it is, and whether it is given as `mbox:PLACE`."""
    return place.removeprefix(_MBOX), place.startswith(_MBOX)


def _files(place: str, limit: int) -> Iterator[str | Work | Unreadable]:
    """Yield small files by name, and large ones as work of their own; what can't be opened is named.

    Beside the mails of a Maildir lie the mail server's indexes, and many programs leave hidden files: of these only
    what holds reports by its first bytes counts. Of a Maildir's `tmp`, which holds halves, nothing does.
    """
    if not Path(place).is_dir():
        try:
            status = Path(place).stat()
            if stat.S_ISREG(status.st_mode):
                yield from _file(place, status)
            else:
                yield Work("bytes", place, content=_stream(place, limit))
        except OSError as error:
            yield Unreadable(place, why(error))
        return
    folders = [place]
    while folders:
        folder = folders.pop()
        maildir = all(Path(folder, name).is_dir() for name in _MAIL_FOLDERS)
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    try:
                        small = entry.name.endswith(_SMALL)
                        if small and entry.is_file(follow_symlinks=False):
                            yield entry.path
                        elif entry.is_dir(follow_symlinks=False):
                            if not (maildir and entry.name == "tmp"):
                                folders.append(entry.path)
                        elif small or not (maildir or entry.name.startswith(".")) or _holds_reports(entry.path):
                            yield from _file(entry.path, entry.stat())
                    except OSError as error:
                        yield Unreadable(entry.path, why(error))
        except OSError as error:
            yield Unreadable(folder, why(error))


def _file(path: str, status: os.stat_result) -> Iterator[str | Work | Unreadable]:
    if not stat.S_ISREG(status.st_mode):
        yield Unreadable(path, "a link to a folder, a pipe or a device: give it by name")
        return
    size = status.st_size
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


def _holds_reports(path: str) -> bool:
    """Tell by its first bytes whether a file is an archive, an mbox file or JSON."""
    descriptor = os.open(path, _OPEN)
    try:
        return os.read(descriptor, 5).startswith(_HEADS)
    except BlockingIOError:  # a pipe
        return False
    finally:
        os.close(descriptor)


def _stream(name: str, limit: int) -> bytes:
    """Return what comes through a pipe until its writer ends, up to `limit` bytes and one more."""
    with open(name, "rb") as file:  # noqa: PTH123
        return file.read(limit + 1)


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
    except (ClientError, BotoCoreError, ValueError) as error:  # ValueError: AWS_ENDPOINT_URL is no URL
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


def work_through(work: Work, context: Context, whole: Input, s3: S3Client | None = None) -> int:
    """Do one piece of work: tell what is found, and return the number of files, mails and objects looked at."""
    context = replace(context, mbox=work.mbox)
    if work.kind == "files":
        limit = whole.limits.document + 1
        for name in work.names:
            try:
                data = _file_content(name, limit)
            except (OSError, ValueError) as error:  # ValueError: a name that the system refuses
                whole.found(Unreadable(name, why(error)))
            else:
                read(data, name, context, whole)
    elif work.kind == "mbox":
        return _read_mbox(work, context, whole)
    elif work.kind == "zip":
        try:
            with Path(work.place).open("rb") as file:
                read_archive(file, work.place, context, whole)
        except OSError as error:
            whole.found(Unreadable(work.place, why(error)))
    elif work.kind == "bytes":
        read(work.content, work.place, context, whole)
    else:
        client = s3 or s3_client()
        with ThreadPoolExecutor(_S3_THREADS) as pool:
            fetch = partial(_object, client, work.place, limit=whole.limits.document)
            for key, content in zip(work.names, map_ahead(pool, _S3_AHEAD, fetch, work.names), strict=True):
                name = f"s3://{work.place}/{key}"
                if isinstance(content, str):
                    whole.found(Unreadable(name, content))
                else:
                    read(content, name, context, whole)
    return max(len(work.names), 1)


def map_ahead(pool: Executor, ahead: int, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Map in a pool, in order, taking items only so far ahead of the results: `Executor.map` takes all at once."""
    pending: deque[Future[Any]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def _file_content(name: str, limit: int) -> bytes:
    """Return what a file holds, and not much more than `limit` bytes of it."""
    descriptor = os.open(name, _OPEN)
    try:
        data = os.read(descriptor, _BLOCK)
        if len(data) == _BLOCK:  # or that was all: it is a regular file
            parts = [data]
            size = _BLOCK
            while size < limit and (more := os.read(descriptor, _BLOCK)):
                parts.append(more)
                size += len(more)
            data = b"".join(parts)
    finally:
        os.close(descriptor)
    return data


def _read_mbox(work: Work, context: Context, whole: Input) -> int:
    """Tell what the mails hold whose first line lies in the range of an mbox file; return their number."""
    mails = 0
    try:
        for begin, mail in _mails(work, whole.limits.document):
            mails += 1
            name = f"{work.place}@{begin}"
            if mail is None:
                whole.found(Unreadable(name, f"larger than {whole.limits.document} bytes"))
            else:
                read(mbox_message(mail), name, mbox_entry(context, begin), whole)
    except OSError as error:
        whole.found(Unreadable(work.place, why(error)))
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
        mail = bytearray()
        line_begins = True
        while line := file.readline(_BLOCK):
            if line_begins and line.startswith(b"From "):
                if begin >= 0:
                    yield begin, bytes(mail) if size <= limit else None
                begin, size = offset, 0
                mail.clear()
            if (begin < 0 or begin == offset) and offset >= work.end:
                return
            line_begins = line.endswith(b"\n")
            offset += len(line)
            if begin >= 0:
                size += len(line)
                if size <= limit:
                    mail += line
        if begin >= 0:
            yield begin, bytes(mail) if size <= limit else None


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
