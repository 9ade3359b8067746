"""`python -m sandbox.chaos`: run the campaign and print its table."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from mta_sts.safety import Tally
from sandbox.chaos.campaign import (
    FOLLOWED_BY,
    INTERRUPTIONS,
    KILLS,
    Interruption,
    Life,
    Row,
    judge,
    prepare,
    run_cell,
    run_kill,
    witness,
)
from sandbox.chaos.changes import CHANGES
from sandbox.chaos.witness import Testimony

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


_CONTROL = "in the usual style: "
# Not "first host removed": named by index, its records collide, and Cloudflare refuses the update.
_CONTROLLED = ("all hosts replaced", "the only host replaced", "host added", "last host removed", "max-age raised")
_SHORT = ("all hosts replaced", "host added", "enforce to none", "max-age lowered and host removed", "epoch set")
_KILLED = "all replaced and max-age raised"
_WORKERS = 2
_USUAL_CALLS = 3
_LEAST_CHANGES = 40
_LEAST_KILLS = 30
_LEAST_DELIVERIES = 1_000_000
_LEAST_LINES = 1_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 where a sender lost mail or protection, where a cell failed, or where the control did not."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="five changes, three cells, no kills (a minute)")
    options = parser.parse_args(arguments)
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as folder,
        ProcessPoolExecutor(_WORKERS, mp_context=get_context("spawn")) as pool,
    ):
        campaign = Campaign(Path(folder), pool, short=options.short)
        campaign.run()
        rows = campaign.judged()
    ours = [row for change, row in rows.items() if not change.startswith(_CONTROL)]
    theirs = [row for change, row in rows.items() if change.startswith(_CONTROL)]
    _print_table(rows)
    total, lost = _sum(ours), _sum(theirs)
    beside, beside_lost = campaign.witnessed(control=False), campaign.witnessed(control=True)
    print(
        f"\n{sum(row.runs for row in ours)} runs of {len(ours)} changes, {sum(row.stopped for row in ours)} of them "
        f"interrupted; {sum(len(row.lines) for row in ours)} different time-lines, {total.deliveries:,} simulated "
        f"deliveries: {total.refused} refused, {total.locked_in} locked in, {total.downgraded} downgraded.\n"
        f"In the usual style: {lost.refused} refused, {lost.locked_in} locked in, {lost.downgraded} downgraded.\n"
        f"postfix-mta-sts-resolver along the same time-lines: {beside.deliveries:,} deliveries, "
        f"{beside.refused} refused, {beside.locked_in} locked in; in the usual style: "
        f"{beside_lost.refused} refused, {beside_lost.locked_in} locked in.\n"
        f"{time.monotonic() - begun:.0f} seconds"
    )
    harmed = total.refused or total.locked_in or total.downgraded or beside.refused or beside.locked_in
    for harm, example in {**total.examples, "beside": beside.example}.items() if harmed else ():
        print(f"{harm}: {example}")
    for message in campaign.failed:
        print(f"failed: {message}")
    control_is_harmed = lost.refused and lost.locked_in and beside_lost.refused and beside_lost.locked_in
    short_of = [] if options.short else campaign.short_of(total)
    for goal in short_of:
        print(f"short of its goal: {goal}")
    return 1 if campaign.failed or harmed or short_of or not control_is_harmed else 0


class Campaign:
    """All cells, run by a pool of processes."""

    def __init__(self, folder: Path, pool: ProcessPoolExecutor, *, short: bool) -> None:
        self._folder = folder
        self._pool = pool
        self._short = short
        self._changes = [change for change in CHANGES if not short or change.name in _SHORT]
        self._long = [change for change in self._changes if change.is_long and not short]
        self._controlled = [change for change in CHANGES if change.name in _CONTROLLED]
        self._killed = next(change for change in CHANGES if change.name == _KILLED)
        self._lives: list[Life] = []
        self._witnessed = {False: Testimony(), True: Testimony()}
        self.failed: list[str] = []

    def run(self) -> None:
        """Run every cell, with a line of progress for each."""
        ours, long, control, one = (self._folder / name for name in ("ours", "long", "control", "one"))
        preparing = [
            self._pool.submit(prepare, ours, self._changes),
            *([self._pool.submit(prepare, long, self._long)] if self._long else []),
            self._pool.submit(prepare, control, self._controlled, control=True),
            self._pool.submit(prepare, one, [self._killed]),
        ]
        for done in preparing:
            done.result()
        jobs: dict[Future[list[Life]], str] = {}
        for number, (interruption, follow) in enumerate(self._cells()):
            folder = self._folder / f"cell-{number}"
            # Few changes have so many calls or updates, or change the host.
            late = interruption.call > _USUAL_CALLS or interruption.update > 1 or interruption.kind == "host"
            base, changes = (long, self._long) if late else (ours, self._changes)
            job = self._pool.submit(run_cell, base, folder, interruption, follow, changes)
            jobs[job] = f"{interruption}, then {' or '.join(follow)}"
        follow = ("nothing", "a roll-back")
        folder = self._folder / "cell-control"
        job = self._pool.submit(run_cell, control, folder, Interruption(), follow, self._controlled, control=True)
        jobs[job] = f"{_CONTROL}{' or '.join(follow)}"
        for update, step in () if self._short else KILLS:
            folder = self._folder / f"kill-{update}-{step}"
            job = self._pool.submit(run_kill, one, folder, update, step, self._killed)
            jobs[job] = f"engine killed at step {step} of {f'update {update}' if update else 'the first deployment'}"
        for number, job in enumerate(as_completed(jobs), 1):
            self._note(job, f"{number}/{len(jobs)}", jobs[job])

    def _cells(self) -> Iterator[tuple[Interruption, Sequence[str]]]:
        nothing, at_once, late, back = FOLLOWED_BY
        if self._short:
            yield Interruption(2), [at_once]
            yield Interruption(3), [back]
            return
        for interruption in INTERRUPTIONS:
            follow: Sequence[str] = FOLLOWED_BY
            if not interruption.call:
                follow = [late, back]  # there is nothing to retry: what is held back comes with time
            elif interruption.kind == "host":
                follow = [nothing, at_once]
            elif interruption.kind != "denied" or interruption.update > 1:
                follow = [nothing, at_once, back]
            yield interruption, follow

    def _note(self, job: Future[list[Life]], number: str, what: str) -> None:
        try:
            lives = job.result()
        except Exception as error:  # noqa: BLE001  told at the end, with the others
            self.failed.append(f"{what}: {error}")
            lives = []
        if what.startswith(_CONTROL):
            lives = [replace(life, change=f"{_CONTROL}{life.change}") for life in lives]
        self._lives += lives
        met = sum(life.stopped for life in lives)
        print(f"{number}  {what}: {len(lives)} domains, {met} interrupted", file=sys.stderr, flush=True)

    def judged(self) -> dict[str, Row]:
        """Let senders live through every time-line, each once; return what came of it, by change."""
        rows: dict[str, Row] = defaultdict(Row)
        lines: dict[str, Life] = {}
        for life in self._lives:
            lines.setdefault(life.line, life)
            row = rows[life.change]
            row.runs += 1
            row.stopped += life.stopped
            row.lines.add(life.line)
        tallies = dict(zip(lines, self._pool.map(judge, lines.values(), chunksize=4), strict=True))
        for row in rows.values():
            for line in row.lines:
                row.tally.add(tallies[line])
        for life, found in zip(lines.values(), self._pool.map(witness, lines.values(), chunksize=4), strict=True):
            self._witnessed[life.change.startswith(_CONTROL)].add(found)
        return dict(rows)

    def short_of(self, total: Tally) -> list[str]:
        """Return the goals that were missed: a campaign that tries less than it says proves nothing."""
        met = {life.interruption for life in self._lives if life.stopped}
        kills = sum(life.stopped for life in self._lives if "killed" in life.interruption)
        lines = len({life.line for life in self._lives if not life.change.startswith(_CONTROL)})
        counted = (
            ("changes", len(self._changes), _LEAST_CHANGES),
            ("kills with recovery", kills, _LEAST_KILLS),
            ("simulated deliveries", total.deliveries, _LEAST_DELIVERIES),
            ("time-lines for the independent sender", lines, _LEAST_LINES),
        )
        missed = [f"{count:,} {what}, not {least:,}" for what, count, least in counted if count < least]
        planned = {str(one) for one in INTERRUPTIONS if one.call and one.kind != "target"}
        return [*missed, *(f"nothing was met by: {one}" for one in sorted(planned - met))]

    def witnessed(self, *, control: bool) -> Testimony:
        """Return what the independent sender met, once judged."""
        return self._witnessed[control]


def _print_table(rows: Mapping[str, Row]) -> None:
    width = max(map(len, rows), default=0)
    print(f"{'change':{width}}  runs  met  lines  deliveries  refused  locked in  downgraded  skipped")
    for change, row in rows.items():
        tally = row.tally
        print(
            f"{change:{width}}  {row.runs:4}  {row.stopped:3}  {len(row.lines):5}  {tally.deliveries:10,}  "
            f"{tally.refused:7}  {tally.locked_in:9}  {tally.downgraded:10}  {tally.skipped:7}"
        )


def _sum(rows: Iterable[Row]) -> Tally:
    total = Tally()
    for row in rows:
        total.add(row.tally)
    return total


if __name__ == "__main__":
    raise SystemExit(main())
