"""How fast TLS reports are read, beside parsedmarc 11 (its own functions, offline) on the same corpus in one run.

Both read every file from disk; ours also removes copies and sums up. parsedmarc runs in a virtual environment of
its own, which is made in the user's cache if none is named. Rounds alternate and the best of each counts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import report_corpus

PARSEDMARC = "parsedmarc==11.1.0"
TARGETS = {"eml": 4.0, "json.gz": 2.0}

# Prints a JSON object with reports, seconds and the peak memory in KiB of the process and of its largest child.
OURS = """
import json, resource, sys, time
from mta_sts.reports.collect import Options, collect
if __name__ == "__main__":
    start = time.perf_counter()
    summary = collect([sys.argv[1]], Options(jobs=int(sys.argv[2])))
    seconds = time.perf_counter() - start
    assert not summary.unreadable
    peak = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({"reports": summary.reports, "seconds": seconds, "peak": peak}))
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
start = time.perf_counter()
reports = sum(1 for path in files if read(path))
print(json.dumps({"reports": reports, "seconds": time.perf_counter() - start}))
"""


def run(python: str, code: str, *arguments: object) -> dict[str, object]:
    """Run code with an interpreter from a file (processes are started from it) and return what it prints."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(code)
        script.flush()
        command = [python, script.name, *map(str, arguments)]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, object] = json.loads(out)
    return found


def rate(found: dict[str, object]) -> float:
    """Return reports a second."""
    return float(str(found["reports"])) / float(str(found["seconds"]))


def parsedmarc_python(given: str | None) -> str:
    """Return the interpreter that has parsedmarc; installs it into the user's cache once."""
    if given:
        return given
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "pulumi-mta-sts" / PARSEDMARC.replace("==", "-")
    python = home / "bin" / "python"
    if not (home / ".complete").exists():
        print(f"installing {PARSEDMARC} into {home}", file=sys.stderr)
        venv.create(home, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PARSEDMARC], check=True)
        (home / ".complete").touch()
    return str(python)


def main() -> int:
    """Measure and print; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parsedmarc-python", metavar="PYTHON", help="interpreter of an environment with parsedmarc")
    parser.add_argument("--count", type=int, default=10_000, help="reports for speed (default 10000)")
    parser.add_argument("--large", type=int, default=100_000, help="reports for the memory comparison (default 100000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the corpus is kept (default: a temporary folder)")
    options = parser.parse_args()
    theirs = parsedmarc_python(options.parsedmarc_python)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        met = [speed(folder, form, theirs, options.count, options.rounds) for form in report_corpus.FORMS]
        scale(folder, options.count, options.large, min(options.rounds, 2))
    return 0 if all(met) else 1


def speed(folder: Path, form: str, theirs: str, count: int, rounds: int) -> bool:
    """Compare in one process each; tell whether the target is met."""
    place = report_corpus.write(folder, count, form)
    ways = ["whole", "lean"] if form == "json.gz" else ["whole"]
    best: dict[str, float] = {}
    for _ in range(rounds):
        for way in ways:
            best[way] = max(best.get(way, 0), rate(run(theirs, THEIRS, place, form, way)))
        best["ours"] = max(best.get("ours", 0), rate(run(sys.executable, OURS, place, 1)))
    ratio = best["ours"] / best["whole"]
    print(f".{form}, {count:,} files, one process, reports a second:")
    print(f"  mta-sts reports (read, copies removed, summed up)   {best['ours']:>10,.0f}")
    print(f"  parsedmarc parse_report_file                        {best['whole']:>10,.0f}   {ratio:.1f} times")
    if "lean" in best:
        lean = best["ours"] / best["lean"]
        print(f"  parsedmarc without trying other report kinds        {best['lean']:>10,.0f}   {lean:.1f} times")
    met = ratio >= TARGETS[form]
    print(f"  target: {TARGETS[form]:g} times parse_report_file: {'met' if met else 'MISSED'}")
    return met


def scale(folder: Path, count: int, large: int, rounds: int) -> None:
    """Show what a second process gives, and what ten times the reports cost in memory."""
    print("Mails, 1 and 2 processes (peak memory: main process, largest worker):")
    for number in (count, large):
        place = report_corpus.write(folder, number, "eml")
        alone = 0.0
        for jobs in (1, 2):
            found = max((run(sys.executable, OURS, place, jobs) for _ in range(rounds)), key=rate)
            alone = alone or rate(found)
            peaks = [f"{size // 1024} MiB" for size in found["peak"]]  # type: ignore[attr-defined]
            gain = f"{rate(found) / alone:.2f} times"
            print(f"  {number:>9,} in {jobs}: {rate(found):>9,.0f} a second, {gain}, {', '.join(peaks[:jobs])}")


if __name__ == "__main__":
    sys.exit(main())
