"""How long a proof takes, and how many deliveries a replay makes: `python benchmarks/safety.py`.

Goals: 50 ms for a usual change of one domain, 300 ms for one that replaces all its MX hosts, 20 s for 1,000 domains on
2 cores. Where one is missed it exits with 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from mta_sts import Mode, Policy, render_policy
from mta_sts.safety import Change, Kind, Publication, Step, World, circumstances, prove, replay
from mta_sts.safety.timeline import history, recorded
from mta_sts.sender import temperaments

TTL = 300
BARRIER = TTL + 420
ONE_GOAL = 0.050
MIGRATION_GOAL = 0.300
ALL_GOAL = 20.0
REPEATS = 20


def body(*hosts: str, max_age: int = 1_209_600) -> str:
    """Return a policy file in enforce."""
    return render_policy(Policy("STSv1", Mode.ENFORCE, hosts, max_age)).decode()


def hosts_of(number: int) -> list[str]:
    """Return the MX hosts of one of many domains."""
    return [f"mx{place}.domain{number}.example" for place in range(6)]


def domain(number: int) -> World:
    """Return a domain with two MX hosts and a year of four publications."""
    one, two, *_ = hosts_of(number)
    ledger = tuple(
        Publication(
            body(one, two, f"old{past}.domain{number}.example"), f"id{number}x{past}", -past * 30 * 86_400.0, TTL
        )
        for past in (4, 3, 2, 1)
    )
    return World(
        mx=frozenset({one, two}), mx_ttl=TTL, txt=f"id{number}", txt_ttl=TTL, policy=body(one, two), ledger=ledger
    )


def usual(number: int) -> dict[str, Change]:
    """Return the changes that a domain usually sees."""
    one, two, three, four, five, six = hosts_of(number)

    def publish(*hosts: str) -> tuple[Step, Step]:
        return Step("policy", Kind.POLICY, body(*hosts)), Step("txt", Kind.TXT, f"new{number}", {"policy": 0})

    def added(*hosts: str) -> tuple[Step, ...]:
        return tuple(Step(f"add {host}", Kind.MX_ADD, host, {"txt": BARRIER}) for host in hosts)

    file, record = publish(one, two)
    removed = Step(f"remove {two}", Kind.MX_REMOVE, two, deletion=True)
    return {
        "max_age": Change((replace(file, value=body(one, two, max_age=86_400)), record)),
        "add one MX host": Change((*publish(one, two, three), *added(three))),
        "add four MX hosts": Change((*publish(one, two, three, four, five, six), *added(three, four, five, six))),
        "remove one MX host": Change((removed,)),
        "replace one of two MX hosts": Change((*publish(one, two, three), *added(three), removed)),
        "drop a host from policy and MX at once": Change((*publish(one), removed)),
    }


def migrations() -> dict[str, tuple[World, Change]]:
    """Return changes that replace all MX hosts, in each of the ways that people try."""
    found = {}
    for many, fresh in ((1, 5), (5, 1), (5, 5), (10, 10)):
        old = [f"mx{number}.old.example" for number in range(many)]
        new = [f"mx{number}.new.example" for number in range(fresh)]
        before, after = body(*old), body(*old, *new)
        ledger = (Publication(body(*old[:-1], "mx.older.example"), "id0", -5 * 86_400.0, TTL),)
        world = World(mx=frozenset(old), mx_ttl=TTL, txt="id1", txt_ttl=TTL, policy=before, ledger=ledger)
        publish = Step("policy", Kind.POLICY, after), Step("txt", Kind.TXT, "id2", {"policy": 0})
        added = tuple(Step(f"add {host}", Kind.MX_ADD, host, {"txt": BARRIER}) for host in new)
        removed = tuple(Step(f"remove {host}", Kind.MX_REMOVE, host, deletion=True) for host in old)
        both = replace(world, mx=frozenset((*old, *new)), policy=after)
        found[f"{many} MX hosts, {fresh} new ones added"] = world, Change((*publish, *added))
        found[f"{fresh} new MX hosts, {many} old ones removed"] = both, Change(removed)
        found[f"{many} MX hosts, {fresh} in their place in one update"] = world, Change((*publish, *added, *removed))
    return found


def milliseconds(world: World, change: Change) -> float:
    """Return how long one proof takes, in time of this process: others on the machine miss no goal."""
    prove(world, change)
    begin = time.process_time()
    for _ in range(REPEATS):
        prove(world, change)
    return (time.process_time() - begin) / REPEATS * 1000


def prove_some(numbers: range) -> int:
    """Prove one change for each of these domains, and count those that are safe."""
    changes = list(usual(0))
    return sum(prove(domain(number), usual(number)[changes[number % len(changes)]]).safe for number in numbers)


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--domains", type=int, default=1000)
    count: int = options.parse_args().domains
    missed = 0
    judged = [(name, domain(0), change, ONE_GOAL) for name, change in usual(0).items()]
    judged += [(name, world, change, MIGRATION_GOAL) for name, (world, change) in migrations().items()]
    for name, world, change, goal in judged:
        taken = milliseconds(world, change)
        missed += taken / 1000 > goal
        safe = prove(world, change).safe
        print(f"{taken:8.1f} ms  {taken / 1000 / goal:6.1%} of the goal  {name}, safe: {safe}")
    begin = time.perf_counter()
    parts = [range(core, count, 2) for core in range(2)]
    with ProcessPoolExecutor(2) as pool:
        passed = sum(pool.map(prove_some, parts))
    taken = time.perf_counter() - begin
    missed += taken > ALL_GOAL
    print(f"{taken:8.1f} s   {taken / ALL_GOAL:6.1%} of the goal  {count} domains on 2 cores, {passed} safe")
    world, change = domain(0), usual(0)["add one MX host"]
    times = [(0.0, change.steps[0]), (0.0, change.steps[1]), (float(BARRIER), change.steps[2])]
    some = [(temperament, are) for temperament in temperaments() for are in circumstances()][::48]
    begin = time.perf_counter()
    tally = replay([*history(world), *recorded(world, times)], some, since=0)
    taken = time.perf_counter() - begin
    print(
        f"{tally.deliveries:8} deliveries in {taken:.1f} s on 1 core: {taken / tally.deliveries * 1e6:.1f} s a million"
    )
    if missed:
        sys.exit(f"{missed} goals were missed")


if __name__ == "__main__":
    main()
