"""Review one plan of 1,000 domains, as large as the engine writes it: time and memory, each in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import mebibytes

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "tests" / "mta_sts" / "plans" / "component.json"
DOMAINS = 1000
MOST_SECONDS = 20.0
MOST_MEBIBYTES = 1024
_FORMS = ("markdown", "json", "text")
_RUN = "import sys; from mta_sts.cli import main; sys.exit(main(sys.argv[1:]))"
_MARK = "mx-in-parallel"
# What the engine adds to each state and a review has no use for.
_TRACE = {"stackTrace": [{"sourcePosition": f"project:///../some/where/in/a/program/module.py#{n}"} for n in range(19)]}


def write_plan(file: Path) -> None:
    """Make a plan of many domains from one that the engine made: each replaces an MX host."""
    document = json.loads(RECORDED.read_text(encoding="utf-8"))
    shared = [step for step in document["steps"] if "PolicyHost" in step["urn"] and _MARK not in step["urn"]]
    own = json.dumps([_traced(step) for step in document["steps"] if _MARK in step["urn"]])
    with file.open("w", encoding="utf-8") as out:
        out.write('{"config": {}, "steps": [\n')
        out.write(",\n".join(json.dumps(_traced(step), indent=1) for step in shared))
        for number in range(DOMAINS):
            for step in json.loads(own.replace(_MARK, f"d{number:04}")):
                out.write(",\n" + json.dumps(step, indent=1))
        same = {"same": document["changeSummary"]["same"]}
        out.write(f'], "diagnostics": [], "changeSummary": {json.dumps(same)}}}\n')


def _traced(step: dict[str, object]) -> dict[str, object]:
    return {key: value | _TRACE if isinstance(value, dict) else value for key, value in step.items()}


def main() -> int:
    """Measure each form; return 1 where one is over its limits."""
    bad = False
    with tempfile.TemporaryDirectory(prefix="mta-sts-review-") as name:
        file = Path(name) / "plan.json"
        write_plan(file)
        print(f"{DOMAINS} domains, {file.stat().st_size / 1e6:.0f} MB")
        for form in _FORMS:
            start = time.monotonic()
            out = subprocess.run(
                [sys.executable, "-c", _RUN, "review", str(file), "--format", form],
                capture_output=True,
                text=True,
                check=False,
            )
            seconds = time.monotonic() - start
            memory = mebibytes(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
            print(f"{form:9} {seconds:6.1f} s  {memory:6.0f} MiB  {len(out.stdout):9,} characters")
            if out.returncode or seconds > MOST_SECONDS or memory > MOST_MEBIBYTES:
                print(f"over {MOST_SECONDS} s or 1 GiB, or not safe: {out.stderr[:500]}", file=sys.stderr)
                bad = True
    return bad


if __name__ == "__main__":
    sys.exit(main())
