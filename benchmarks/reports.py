"""How fast TLS reports are read, beside parsedmarc 11 (its own functions, offline) on the same corpus in one run.

Both read every file from disk; ours also removes copies and sums up. Speed in one process is compared in seconds of the
processor, so that what else runs on the machine tells little; rounds alternate, and the median of their ratios counts.
What a second process gives is compared with what it gives two loops that do nothing but count, at the same time.
Memory is compared between few reports and a hundred times as many, in mbox files. parsedmarc runs in a virtual
environment of its own, which is made in the user's cache if none is named. About four minutes and 3 GB of disk on two
idle cores, half of it to write and read a million mails; `--large 0` leaves them out. Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

import report_corpus
from measure import judged, mebibytes, python_with, run

PARSEDMARC = "parsedmarc==11.1.0"
TARGETS = {"json.gz": 2.0, "eml": 4.0}
LINEAR = 0.8
"""Of what two processes gain that share nothing; merging sums is the rest."""
MEMORY = 32
"""MiB that many reports may take beyond few: the buffers that only many fill."""

# Each prints a JSON object; peaks are `ru_maxrss` of the process and of its largest child.
OURS = """
import json, resource, sys, time
from mta_sts.reports.collect import Options, collect
if __name__ == "__main__":
    start, processor = time.perf_counter(), time.process_time()
    summary = collect([sys.argv[1]], Options(jobs=int(sys.argv[2])))
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    assert not summary.unreadable
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"reports": summary.reports, "seconds": seconds, "processor": processor, "peaks": peaks}))
"""
THEIRS = """
import json, pathlib, sys, time
import parsedmarc
files = [str(path) for path in pathlib.Path(sys.argv[1]).rglob(f"*.{sys.argv[2]}")]
def whole(path):
    return parsedmarc.parse_report_file(path, offline=True)["report"]
def lean(path):
    return parsedmarc.parse_smtp_tls_report_json(parsedmarc.extract_report_from_file_path(path))
read = lean if sys.argv[3] == "lean" else whole
processor = time.process_time()
reports = sum(1 for path in files if read(path))
print(json.dumps({"reports": reports, "processor": time.process_time() - processor}))
"""
LOOPS = """
import json, sys, time
from concurrent.futures import ProcessPoolExecutor
def count(number):
    for _ in range(number):
        pass
if __name__ == "__main__":
    jobs = int(sys.argv[1])
    with ProcessPoolExecutor(jobs) as pool:
        list(pool.map(count, [1] * jobs))
        start = time.perf_counter()
        list(pool.map(count, [50_000_000 // jobs] * jobs))
        print(json.dumps({"seconds": time.perf_counter() - start}))
"""


def main() -> int:
    """Measure and print; return 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parsedmarc-python", metavar="PYTHON", help="interpreter of an environment with parsedmarc")
    parser.add_argument("--count", type=int, default=10_000, help="reports for speed and memory (default 10000)")
    parser.add_argument("--large", type=int, default=1_000_000, help="reports for memory (default 1000000, 0 for none)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3; three times as many of .json.gz files")
    parser.add_argument("--folder", type=Path, help="where the corpus is kept (default: a temporary folder)")
    options = parser.parse_args()
    theirs = python_with(PARSEDMARC, options.parsedmarc_python)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        met = [
            speed(folder, "json.gz", theirs, options.count, options.rounds * 3),  # of a second each
            speed(folder, "eml", theirs, options.count, options.rounds),
        ]
        met.append(linear(folder, options.count * 10, options.rounds))
        if options.large:
            met.append(memory(folder, options.count, options.large))
    return 0 if all(met) else 1


def speed(folder: Path, form: str, theirs: str, count: int, rounds: int) -> bool:
    """Compare in one process each; tell whether the target is met."""
    place = report_corpus.write(folder, count, form)
    rates: dict[str, list[float]] = {}
    for number in range(1, rounds + 1):
        found = {way: run(theirs, THEIRS, place, form, way) for way in ("whole", "lean")[: 1 + (form == "json.gz")]}
        found["ours"] = run(sys.executable, OURS, place, 1)
        for way, one in found.items():
            rates.setdefault(way, []).append(one["reports"] / one["processor"])
        print(f"round {number} of {rounds} ({form})", file=sys.stderr)
    print(f"{count:,} .{form} files, one process, reports a second of the processor (median of {rounds} rounds):")
    print(f"  mta-sts reports (read, copies removed, summed up)   {median(rates['ours']):>10,.0f}")
    times = {way: _times(rates["ours"], theirs) for way, theirs in rates.items()}
    for way, name in (("whole", "parse_report_file"), ("lean", "without trying other report kinds")):
        if way in rates:
            print(f"  parsedmarc {name:40} {median(rates[way]):>10,.0f}   {times[way]:.1f} times")
    goal = TARGETS[form]
    return judged(f"{goal:g} times parse_report_file ({times['whole']:.2f})", met=times["whole"] >= goal)


def _times(ours: list[float], theirs: list[float]) -> float:
    return median(mine / other for mine, other in zip(ours, theirs, strict=True))


def linear(folder: Path, count: int, rounds: int) -> bool:
    """Compare what a second process gives with what it gives to loops; tell whether it is nearly the same."""
    place = report_corpus.write(folder, count, "eml")
    shares = []
    for _ in range(rounds):
        seconds = [run(sys.executable, OURS, place, jobs)["seconds"] for jobs in (1, 2)]
        loops = [run(sys.executable, LOOPS, jobs)["seconds"] for jobs in (1, 2)]
        gain, possible = seconds[0] / seconds[1], loops[0] / loops[1]
        shares.append(gain / possible)
        print(f"{count:,} mails: {count / seconds[0]:,.0f} a second, in two processes {gain:.2f} times", end=" ")
        print(f"(loops {possible:.2f})", flush=True)
    share = median(shares)
    return judged(f"a second process gives at least {LINEAR:.0%} of what it can ({share:.0%})", met=share >= LINEAR)


def memory(folder: Path, count: int, large: int) -> bool:
    """Compare the peak memory of few and many reports, of the main process and of its largest worker."""
    peaks: dict[int, list[float]] = {}
    for number in (count, large):
        place = report_corpus.write(folder, number, "mbox")
        for jobs in (1, 2):
            found = run(sys.executable, OURS, place, jobs)
            if found["reports"] != number:
                raise RuntimeError(f"{found['reports']} of {number} reports were read: nothing to compare")
            peaks.setdefault(number, []).extend(map(mebibytes, found["peaks"][:jobs]))
            shown = ", ".join(f"{peak:.0f} MiB" for peak in map(mebibytes, found["peaks"][:jobs]))
            print(f"{number:,} mails in mbox files, {jobs} processes: {found['seconds']:.0f} s, {shown}", flush=True)
    more = max(many - few for few, many in zip(peaks[count], peaks[large], strict=True))
    goal = f"{large:,} reports take at most {MEMORY} MiB more than {count:,} ({more:.0f} MiB)"
    return judged(goal, met=more <= MEMORY)


if __name__ == "__main__":
    sys.exit(main())
