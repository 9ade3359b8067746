"""How fast domains are checked, beside checkdmarc 6 on the same small internet in one run.

Each domain is published as it should be: record, policy, TLS reporting record, two MX hosts of its own. checkdmarc does
what it has of our checks: `check_mta_sts`, `check_smtp_tls_reporting`, `check_mx` with STARTTLS and the policy's
patterns. What it looks at beyond (DNSSEC, TLSA, reverse DNS, CNAME of MX hosts) is left out. Ours leaves nothing out:
each name server, CAA, wildcard, a second fetch. Both trust the same roots, those of certifi and one of ours. checkdmarc
runs in a virtual environment of its own, which is made in the user's cache if none is named. It takes the domains one
after another: with 20 ms on every exchange, 500 take it some five minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import judged, mebibytes, python_with, run

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKDMARC = "checkdmarc==6.0.4"
LATE = 0.02
TARGETS = {0.0: 2.0, LATE: 10.0}
MOST_MEBIBYTES = 300

# Each prints a JSON object with seconds, domains found good, and the peak memory (`ru_maxrss`).
OURS = """
import json, pathlib, resource, sys, time
from mta_sts.checks.run import check_domains
from mta_sts.network_options import Network
places, count = json.loads(sys.argv[1]), int(sys.argv[2])
ports = {f"*:{port}": {"127.0.0.1": places[name]} for port, name in ((443, "https"), (25, "smtp"), (53, "dns"))}
start = time.perf_counter()
network = Network((("127.0.0.1", places["dns"]),), pathlib.Path(places["ca_file"]), ports)
reports = check_domains([f"d{number}.bench.example" for number in range(count)], network)
seconds = time.perf_counter() - start
good = sum(not report.points for report in reports)
print(json.dumps({"seconds": seconds, "good": good, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""
THEIRS = """
import json, os, resource, socket, sys, time
places, count = json.loads(sys.argv[1]), int(sys.argv[2])
os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = places["ca_file"]
import dns.nameserver, dns.resolver
from checkdmarc import mta_sts, smtp, smtp_tls_reporting
ports = {443: places["https"], 25: places["smtp"]}
def getaddrinfo(host, port, *rest, **more):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", ports[port]))]
socket.getaddrinfo = getaddrinfo
server = dns.nameserver.Do53Nameserver("127.0.0.1", places["dns"])
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [server]
smtp.check_dnssec = lambda *_, **__: False
smtp.get_tlsa_records = lambda *_, **__: []
smtp.get_reverse_dns = lambda *_, **__: []
ask = smtp.query_dns
smtp.query_dns = lambda name, kind, **more: [] if kind == "CNAME" else ask(name, kind, **more)
start = time.perf_counter()
good = 0
for number in range(count):
    domain = f"d{number}.bench.example"
    where = {"nameservers": [server], "resolver": resolver}
    policy = mta_sts.check_mta_sts(domain, **where)
    reporting = smtp_tls_reporting.check_smtp_tls_reporting(domain, **where)
    patterns = policy["policy"]["mx"] if policy["valid"] else []
    mx = smtp.check_mx(domain, check_mx_tls=True, mta_sts_mx_patterns=patterns, **where)
    encrypted = all(host["starttls"] for host in mx["hosts"])
    good += bool(policy["valid"] and reporting["valid"] and encrypted and mx["hosts"])
    if number % 100 == 99:
        print(f"checkdmarc: {number + 1} of {count} domains", file=sys.stderr, flush=True)
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "good": good, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


@contextmanager
def world(folder: Path, delay: float, roots: bytes) -> Iterator[dict[str, Any]]:
    """Run the small internet, and return where it listens."""
    script = Path(__file__).with_name("check_world.py")
    with subprocess.Popen(
        [sys.executable, script, folder, str(delay)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the world has no pipes")
        try:
            places: dict[str, Any] = json.loads(process.stdout.readline())
            trusted = folder / "roots.pem"
            trusted.write_bytes(roots + Path(places["ca_file"]).read_bytes())
            yield places | {"ca_file": str(trusted)}
        finally:
            process.stdin.close()
            process.wait(10)


def compare(theirs: str, places: dict[str, Any], count: int, delay: float) -> bool:
    """Measure both, and tell whether the target is met."""
    given = json.dumps(places)
    found = {
        "mta-sts check": run(sys.executable, OURS, given, count),
        "checkdmarc, the same checks": run(theirs, THEIRS, given, count),
    }
    print(f"{count:,} domains, {delay * 1000:g} ms on every exchange, seconds:")
    ours = found["mta-sts check"]
    for name, one in found.items():
        if one["good"] != count:
            raise RuntimeError(f"{name} finds {one['good']} of {count} domains good: nothing to compare")
        times = one["seconds"] / ours["seconds"]
        print(f"  {name:30}{one['seconds']:>9.1f}   {times:>5.1f} times   {mebibytes(one['peak']):>5.0f} MiB")
    ratio = found["checkdmarc, the same checks"]["seconds"] / ours["seconds"]
    return judged(f"{TARGETS[delay]:g} times the same checks ({ratio:.1f})", met=ratio >= TARGETS[delay])


def large(places: dict[str, Any], count: int) -> bool:
    """Check many domains, and tell whether the memory stays within its limit."""
    found = run(sys.executable, OURS, json.dumps(places), count)
    peak = mebibytes(found["peak"])
    print(f"{count:,} domains: {found['seconds']:.0f} s, {found['good']:,} good, {peak:.0f} MiB")
    return judged(f"at most {MOST_MEBIBYTES} MiB", met=peak <= MOST_MEBIBYTES and found["good"] == count)


def main() -> int:
    """Measure and print; return 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkdmarc-python", metavar="PYTHON", help="interpreter of an environment with checkdmarc")
    parser.add_argument("--count", type=int, default=500, help="domains to compare with (default 500)")
    parser.add_argument("--large", type=int, default=10_000, help="domains for memory (default 10000, 0 for none)")
    options = parser.parse_args()
    theirs = python_with(CHECKDMARC, options.checkdmarc_python)
    where = subprocess.run([theirs, "-m", "certifi"], check=True, capture_output=True, text=True).stdout.strip()
    roots = Path(where).read_bytes()
    met = []
    for delay in (LATE, 0.0):
        with tempfile.TemporaryDirectory() as folder, world(Path(folder), delay, roots) as places:
            met.append(compare(theirs, places, options.count, delay))
            if not delay and options.large:
                met.append(large(places, options.large))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
