"""Read reports wherever they lie, on every core, and sum them up within bounded memory."""

from __future__ import annotations

import gc
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from mta_sts.findings import Finding, MtaStsError
from mta_sts.reports.containers import Context, Input, Limits, Unreadable
from mta_sts.reports.origin import OriginCheck
from mta_sts.reports.parse import Report, clean
from mta_sts.reports.sources import Work, map_ahead, pieces, work_through
from mta_sts.reports.summary import PARTITIONS, Spill, Summary, about, partition_records, written_partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_ALONE = 0.25
"""Seconds of reading before other processes are started: as long as it takes until they can read."""
_PARTITIONS_A_TASK = 16
_OBJECTS_A_COLLECTION = 200_000
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Options:
    """How to read: whose reports (all where empty), what is believed, what it may cost.

    `jobs` is the number of processes; 0 means one for each core. `digest` keeps the SHA-256 of each report.
    """

    domains: frozenset[str] = frozenset()
    origin: OriginCheck = field(default_factory=OriginCheck)
    limits: Limits = field(default_factory=Limits)
    jobs: int = 0
    digest: bool = False


class Progress(NamedTuple):
    """How far reading has come."""

    files: int
    reports: int

    def __str__(self) -> str:
        return f"{self.files:,} files read, {self.reports:,} reports"


class _Done(NamedTuple):
    """What one piece of work gave: packed records, and what was counted on the way."""

    chunks: dict[int, list[bytes]]
    files: int
    found: int
    other_domains: int
    unreadable: list[Unreadable]


def collect(
    places: Iterable[str], options: Options | None = None, progress: Callable[[Progress], None] | None = None
) -> Summary:
    """Read every report at `places` (files, folders, `s3://bucket/prefix`) into one summary.

    What can't be read is in `unreadable` by name and reason. Raises MtaStsError if a reader process dies
    (`reader-ended`) or there is no room for what was read (`no-room`): then nobody knows what is missing.
    """
    options = options or Options()
    summary = Summary(origin=options.origin.method)
    try:
        with _rare_collections():
            _collect_into(summary, places, options, progress)
    except BrokenProcessPool as error:
        finding = Finding("reader-ended", "", "a process that read reports was ended, perhaps for lack of memory")
        raise MtaStsError("the reports could not be read", [finding]) from error
    except OSError as error:
        finding = Finding("no-room", "", f"temporary files: {error.strerror}; let TMPDIR name a folder with room")
        raise MtaStsError("the reports could not be read", [finding]) from error
    summary.unreadable.sort()
    summary.digests.sort()
    return summary


def _collect_into(
    summary: Summary, places: Iterable[str], options: Options, progress: Callable[[Progress], None] | None
) -> None:
    with tempfile.TemporaryDirectory(prefix="mta-sts-reports-") as name, ExitStack() as stack:
        folder = Path(name)
        work = _work(places, summary, options.limits.document)
        jobs = options.jobs or _cores()
        spill = Spill(folder, "main")
        mapper: Callable[..., Iterator[Any]] = map

        def results() -> Iterator[_Done]:
            nonlocal mapper
            # In this process what is read goes straight into the spill; another one hands it over.
            alone_until = monotonic() + _ALONE
            for piece in work:
                yield _read(piece, folder=folder, options=options, into=spill)
                if jobs > 1 and monotonic() >= alone_until:
                    break
            more = list(islice(work, 1))
            if more:
                mapper = partial(map_ahead, stack.enter_context(_pool(jobs)), _AHEAD * jobs)
                yield from mapper(partial(_read, folder=folder, options=options, into=None), chain(more, work))

        _read_all(results(), spill, summary, progress)
        _sum_up_all(spill, folder, options, summary, mapper)


def _read_all(
    results: Iterator[_Done], spill: Spill, summary: Summary, progress: Callable[[Progress], None] | None
) -> None:
    found = 0
    for done in results:
        if done.chunks:
            spill.absorb(done.chunks)
        summary.files += done.files
        summary.other_domains += done.other_domains
        summary.unreadable += done.unreadable
        found += done.found
        if progress:
            progress(Progress(summary.files, found))


def _sum_up_all(
    spill: Spill, folder: Path, options: Options, summary: Summary, mapper: Callable[..., Iterator[Any]]
) -> None:
    """Sum up what was read: only when all was read is it known which copy of a report counts."""
    few = spill.few()
    if few is not None:
        summary.sum_up(few, digest=options.digest)
        return
    chunks = spill.take()
    files = written_partitions(folder)
    tasks = (
        [(files.get(number, []), chunks.get(number, [])) for number in range(start, start + _PARTITIONS_A_TASK)]
        for start in range(0, PARTITIONS, _PARTITIONS_A_TASK)
    )
    for part in mapper(partial(_sum_up, digest=options.digest), tasks):
        summary.merge(part)


def _work(places: Iterable[str], summary: Summary, limit: int) -> Iterator[Work]:
    for item in pieces(places, limit=limit):
        if isinstance(item, Unreadable):
            summary.unreadable.append(_printable(item))
        else:
            yield item


def _pool(jobs: int) -> ProcessPoolExecutor:
    # "spawn" is the one start method that is safe beside threads, on every system.
    return ProcessPoolExecutor(
        jobs, get_context("spawn"), initializer=gc.set_threshold, initargs=(_OBJECTS_A_COLLECTION,)
    )


def _read(work: Work, *, folder: Path, options: Options, into: Spill | None) -> _Done:
    """Do one piece of work, in whatever process; what is found goes into a spill or is handed over."""
    spill = into or Spill(folder, str(os.getpid()))
    unreadable: list[Unreadable] = []
    found = other_domains = 0
    domains, keep = options.domains, spill.add
    no_room: list[OSError] = []

    def emit(item: Report | Unreadable) -> None:
        nonlocal found, other_domains
        if not isinstance(item, Report):
            unreadable.append(_printable(item))
            return
        found += 1
        wanted = about(item, domains) if domains else item
        if wanted is None:
            other_domains += 1
        else:
            try:
                keep(wanted)
            except OSError as error:  # not to be taken for what is wrong with the input
                no_room.append(error)

    context = Context(options.origin if options.origin.active else None)
    files = work_through(work, context, Input(options.limits, emit))
    if no_room:
        raise no_room[0]
    return _Done({} if into else spill.take(), files, found, other_domains, unreadable)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let the cycle collector run rarely: reading makes many live tuples and no cycles, and it would walk them all."""
    before = gc.get_threshold()
    gc.set_threshold(_OBJECTS_A_COLLECTION)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _printable(item: Unreadable) -> Unreadable:
    """File names, too, may be written by strangers."""
    return Unreadable(clean(item.name, 1024), item.reason)


def _sum_up(partitions: list[tuple[list[str], list[bytes]]], *, digest: bool) -> Summary:
    summary = Summary()
    for files, chunks in partitions:
        summary.sum_up(partition_records(files, chunks), digest=digest)
    return summary


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
