"""What is safe, what is not, and that the proof says why: faults that it must find, changes that it must let pass."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from mta_sts.safety import (
    Change,
    Circumstances,
    Earlier,
    Failure,
    Harm,
    Kind,
    Publication,
    Step,
    Verdict,
    World,
    circumstances,
    prove,
    replay,
)
from mta_sts.safety.runs import MOST_CUTS, TooManyOrdersError, runs
from mta_sts.safety.timeline import history, recorded
from mta_sts.sender import Temperament
from tests.mta_sts.small_worlds import body, count_of, later, population

A, B, C = "mx1.example.com", "mx2.example.com", "mx3.example.net"
DAY = 86_400
MAX_AGE = 14 * DAY
TTL = 300
BARRIER = TTL + 420
"""The old TXT TTL, a fetch and a back-off: what the component waits before MX hosts are added."""

WORLD = World(mx=frozenset({A}), mx_ttl=TTL, txt="id1", txt_ttl=TTL, policy=body(A))
DOWN = replace(WORLD, policy=None, ledger=(Publication(body(A), "id1", math.inf, TTL),))
"""The policy host fails: who renews the policy by its id goes on with it."""
BOTH = replace(WORLD, mx=frozenset({A, B}), policy=body(A, B))


def publish(text: str | None, identifier: str | None = "id2", wait: float = 0) -> tuple[Step, ...]:
    """Return the steps that publish a body: the file first, then the id."""
    return Step("policy", Kind.POLICY, text), Step("txt", Kind.TXT, identifier, {"policy": wait})


def add(host: str, wait: float = BARRIER) -> Step:
    """Return the step that adds an MX host after the id."""
    return Step(f"add {host}", Kind.MX_ADD, host, {"txt": wait})


def remove(host: str, **after: float) -> Step:
    """Return the step that removes an MX host, as the engine does: last."""
    return Step(f"remove {host}", Kind.MX_REMOVE, host, after, deletion=True)


FAULTS = {
    "id reused": (
        replace(WORLD, ledger=(Publication(body(A, B), "id0", -400 * DAY, TTL),)),
        Change(publish(body(A, B), "id0")),
        Harm.LOCKED_IN,
    ),
    "id reused by a roll-back": (
        WORLD,
        Change(publish(body(A, B)), roll_back=publish(body(A), "id1")),
        Harm.LOCKED_IN,
    ),
    "id not renewed": (WORLD, Change((Step("policy", Kind.POLICY, body(A, B)),)), Harm.LOCKED_IN),
    "new TTL used instead of the old": (
        replace(WORLD, txt_ttl=3600),
        Change((publish(body(A, B))[0], Step("txt", Kind.TXT, "id2", {"policy": 0}, ttl=60), add(B, 60 + 420))),
        Harm.SKIPPED,
    ),
    "renewing senders ignored": (
        # The wait runs from the day on which the bytes went, not the id.
        replace(BOTH, policy=body(A)),
        Change((*publish(body(A, B)), remove(A, policy=TTL + 60 + MAX_AGE))),
        Harm.REFUSED,
    ),
    "old address TTL ignored": (
        replace(WORLD, address_ttl=3600),
        Change(
            (
                Step("move", Kind.ADDRESS),
                Step("policy", Kind.POLICY, body(A, B), {"move": 0}),
                Step("txt", Kind.TXT, "id2", {"policy": 300}),
            )
        ),
        Harm.LOCKED_IN,
    ),
    "MX deleted with its replacement": (
        WORLD,
        Change((*publish(body(A, B)), add(B), remove(A, **{f"add {B}": TTL}))),
        Harm.REFUSED,
    ),
    "id visible before the new body": (
        replace(WORLD, policy_ttl=DAY),
        Change(publish(body(A, B))),
        Harm.LOCKED_IN,
    ),
    "id before the file": (
        WORLD,
        Change((Step("txt", Kind.TXT, "id2"), Step("policy", Kind.POLICY, body(A, B), {"txt": 0}))),
        Harm.LOCKED_IN,
    ),
    "policy dropped with the MX": (BOTH, Change((*publish(body(A)), remove(B))), Harm.SKIPPED),
    "policy dropped with the only MX that works": (
        replace(BOTH, broken=frozenset({A})),
        Change((*publish(body(A)), remove(B))),
        Harm.REFUSED,
    ),
    "retraction by deletion": (
        WORLD,
        Change(
            (
                Step("txt", Kind.TXT, None, deletion=True),
                Step("policy", Kind.POLICY, None, deletion=True),
            )
        ),
        Harm.DOWNGRADED,
    ),
    "MX added before the policy": (
        WORLD,
        Change((Step("add", Kind.MX_ADD, B), *publish(body(A, B)))),
        Harm.SKIPPED,
    ),
    "MX added without the barrier": (WORLD, Change((*publish(body(A, B)), add(B, 0))), Harm.SKIPPED),
    "new MX fails TLS": (
        replace(WORLD, broken=frozenset({B})),
        Change((*publish(body(A, B)), add(B))),
        Harm.SKIPPED,
    ),
    "MX moved by one update of the RRset": (
        WORLD,
        Change((*publish(body(A, B)), Step("mx", Kind.MX, frozenset({B}), {"txt": BARRIER}))),
        Harm.REFUSED,
    ),
    "all MX deleted": (WORLD, Change((remove(A),)), Harm.REFUSED),
    # Other harm is near, or done already, and this change adds to it.
    "first record for a policy that covers no MX host": (
        replace(WORLD, txt=None, policy=body(C)),
        Change((Step("txt", Kind.TXT, "id1"),)),
        Harm.REFUSED,
    ),
    "first record for a policy that covers some MX hosts": (
        replace(BOTH, txt=None, policy=body(A)),
        Change((Step("txt", Kind.TXT, "id1"),)),
        Harm.SKIPPED,
    ),
    "id published for a body that only new senders had taken": (
        replace(WORLD, policy=body(C), ledger=(Publication(body(A), "id1", 0, TTL),)),
        Change((Step("txt", Kind.TXT, "id2"),)),
        Harm.REFUSED,
    ),
    "max_age raised where no MX host is covered": (
        replace(WORLD, mx=frozenset({C}), policy=body(A, max_age=DAY)),
        Change(publish(body(A, max_age=300 * DAY))),
        Harm.REFUSED,
    ),
    "record gone while some hold the policy before": (
        replace(WORLD, policy=body(A, mode="none"), ledger=(Publication(body(B), "id0", -DAY, TTL),)),
        Change((Step("txt", Kind.TXT, None),)),
        Harm.REFUSED,
    ),
    "body that is no policy": (WORLD, Change(publish("no policy at all\n")), Harm.DOWNGRADED),
    "body that is no policy, under the same id": (
        WORLD,
        Change((Step("policy", Kind.POLICY, "no policy at all\n"),)),
        Harm.DOWNGRADED,
    ),
    "record deleted while the policy host is down": (DOWN, Change((Step("txt", Kind.TXT, None),)), Harm.DOWNGRADED),
    "id renewed while the policy host is down": (DOWN, Change((Step("txt", Kind.TXT, "id2"),)), Harm.DOWNGRADED),
    "id renewed while a body that is no policy is served": (
        replace(DOWN, policy="no policy at all\n"),
        Change((Step("txt", Kind.TXT, "id2"),)),
        Harm.DOWNGRADED,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_happens_in_the_simulator(fault: str) -> None:
    """Each known way to harm senders is found, and the time-line that shows it harms simulated senders."""
    world, change, harm = FAULTS[fault]
    verdict = prove(world, change)
    failure = next(failure for failure in verdict.failures if failure.harm is harm)
    assert not verdict.safe
    tally = replay(failure.events, population(), since=0, complete=failure.complete, compared=True)
    assert count_of(harm, tally) > 0


SAFE = {
    "add an MX host": (WORLD, Change((*publish(body(A, B)), add(B)))),
    "add two": (WORLD, Change((*publish(body(A, B, C)), add(B), add(C)))),
    "edge cache waited out": (replace(WORLD, policy_ttl=DAY), Change(publish(body(A, B), wait=DAY))),
    "explicit to wildcard": (WORLD, Change(publish(body("*.example.com")))),
    "remove an MX host, the policy keeps it": (BOTH, Change((remove(B),))),
    "drop a host that has left DNS": (replace(WORLD, policy=body(A, B)), Change(publish(body(A)))),
    "testing to enforce": (replace(WORLD, policy=body(A, mode="testing")), Change(publish(body(A)))),
    "enforce to testing": (WORLD, Change(publish(body(A, mode="testing")))),
    "retraction begins": (WORLD, Change(publish(body(A, mode="none", max_age=DAY)))),
    "max_age lowered": (WORLD, Change(publish(body(A, max_age=DAY)))),
    "another id for the same body": (WORLD, Change((Step("txt", Kind.TXT, "id2"),))),
    "first publication": (
        replace(WORLD, txt=None, policy=None),
        Change(publish(body(A))),
    ),
    "removal once nothing is held": (
        replace(
            WORLD,
            policy=body(A, mode="none", max_age=DAY),
            txt="id3",
            ledger=(Publication(body(A), "id2", -MAX_AGE - TTL - 60, TTL),),
        ),
        FAULTS["retraction by deletion"][1],
    ),
    "same body under an id of its own past": (
        replace(WORLD, ledger=(Publication(body(A), "id0", -DAY, TTL),)),
        Change((Step("txt", Kind.TXT, "id0"),)),
    ),
    "old address waited out": (
        replace(WORLD, address_ttl=3600),
        Change(
            (
                Step("move", Kind.ADDRESS),
                Step("policy", Kind.POLICY, body(A, B), {"move": 0}),
                Step("txt", Kind.TXT, "id2", {"move": 3600, "policy": 0}),
            )
        ),
    ),
    "nothing": (WORLD, Change(())),
}


@pytest.mark.parametrize("name", SAFE)
def test_a_safe_change_passes(name: str) -> None:
    """What the component does in order is safe, at every interruption and rolled back."""
    assert Verdict((), prove(*SAFE[name]).skips) == prove(*SAFE[name])


@pytest.mark.parametrize("wait", [TTL - 1, TTL])
def test_waits_are_exact(wait: int) -> None:
    """The old id is gone from caches after its TTL, and not a second before."""
    verdict = prove(WORLD, Change((*publish(body(A, B)), add(B, wait))))
    assert (wait == TTL) == verdict.safe


def test_the_date_from_which_it_is_safe() -> None:
    """A host may go when no body that lists only it can be held: TTL, fetch and max_age after its id."""
    world = replace(BOTH, ledger=(Publication(body(A), "id0", -10 * DAY, TTL),))
    change = Change((remove(A),))
    verdict = prove(world, change)
    assert 4 * DAY + TTL + 60 == verdict.safe_from
    assert prove(later(world, verdict.safe_from), change).safe
    assert not prove(later(world, verdict.safe_from - 1), change).safe


def test_no_date_helps_while_the_id_stands() -> None:
    """A body under the present id is renewed without end."""
    verdict = prove(replace(BOTH, policy=body(A)), Change((remove(A),)))
    assert (False, None) == (verdict.safe, verdict.safe_from)


def test_what_caches_still_give_counts() -> None:
    """An MX RRset replaced a moment ago is still used: the policy may not drop its only host before that ends."""
    world = replace(WORLD, policy=body(A, B), earlier=(Earlier(Kind.MX, frozenset({B}), 200),))
    verdict = prove(world, Change(publish(body(A))))
    assert (False, 200 + 60) == (verdict.safe, verdict.safe_from)


def test_unknown_history_counts_as_held() -> None:
    """A body whose id went nobody knows when is held for ever."""
    verdict = prove(replace(BOTH, ledger=(Publication(body(A), "id0"),)), Change((remove(A),)))
    assert (False, None) == (verdict.safe, verdict.safe_from)


@pytest.mark.parametrize(
    ("world", "change"),
    [
        (replace(WORLD, mx=frozenset({C})), Change(publish(body(A, mode="testing")))),
        (replace(WORLD, mx=frozenset({C})), Change(publish(body(A, B)))),
        (replace(WORLD, broken=frozenset({A})), Change(publish(body(A, max_age=DAY)))),
        (replace(WORLD, mx=frozenset({A, C})), Change(publish(body(A, max_age=DAY)))),
        (
            replace(WORLD, txt=None, ledger=(Publication(body(A), "id1", -DAY, TTL),)),
            Change((Step("policy", Kind.POLICY, None, deletion=True),)),
        ),
        (DOWN, Change((Step("policy", Kind.POLICY, body(A)),))),
        (replace(DOWN, txt_ttl=DAY), Change((Step("txt", Kind.TXT, "id1", ttl=TTL),))),
        (replace(WORLD, txt=None, policy="no policy at all\n"), Change((Step("txt", Kind.TXT, "id1"),))),
        (replace(WORLD, mx=frozenset()), Change((Step("add", Kind.MX_ADD, C),))),
        (replace(WORLD, mx=frozenset({C})), Change((Step("add", Kind.MX_ADD, A),))),
        (replace(WORLD, mx_ttl=math.inf, txt_ttl=math.inf), Change(publish(body(A, mode="testing")))),
    ],
    ids=[
        "brake", "drift", "TLS broken", "stray MX", "record gone", "policy host mended", "policy host down",
        "no policy yet", "no MX host yet", "MX host for the policy", "unknown TTL",
    ],
)  # fmt: skip
def test_a_change_is_refused_only_if_a_sender_ends_worse(world: World, change: Change) -> None:
    """What is broken already is no reason to hold up a change that does not make it worse."""
    assert () == prove(world, change).failures


def test_an_unknown_ttl_never_runs_out() -> None:
    """Where nobody knows how long caches keep the old id, no wait is long enough, and no date is named."""
    world = replace(WORLD, txt_ttl=math.inf)
    (failure,) = prove(world, Change((*publish(body(A, B)), add(B)))).failures
    assert (Harm.SKIPPED, math.inf) == (failure.harm, failure.until)
    assert "waiting does not help" in str(failure)


def test_the_same_sender_is_asked_twice() -> None:
    """What harms a sender as much where nothing is done is left out of a comparison, and of nothing else."""
    world, change = replace(WORLD, mx=frozenset({C})), Change(publish(body(A, B)))
    events = [*history(world), *recorded(world, [(0, step) for step in change.steps])]
    assert replay(events, population(), since=0).refused > 0
    assert 0 == replay(events, population(), since=0, compared=True).refused


def test_an_id_that_returns_does_harm_beyond_the_old_hold() -> None:
    """A body that some would refuse by for a while yet is brought back for good by its id: that is worse."""
    world = replace(WORLD, ledger=(Publication(body(B), "id0", -DAY, TTL),))
    harms = {failure.harm for failure in prove(world, Change((Step("txt", Kind.TXT, "id0"),))).failures}
    assert {Harm.REFUSED, Harm.LOCKED_IN} == harms


def test_bounded_skips_are_reported() -> None:
    """Senders that do not look at the id pass the new host by for as long as they may hold the old body."""
    (skip,) = prove(WORLD, SAFE["add an MX host"][1]).skips
    assert (B, MAX_AGE + TTL + 60) == (skip.host, skip.until)


def test_deletions_run_where_other_steps_failed() -> None:
    """A deletion that waits for a step also runs when that step has failed."""
    wait = TTL + 60 + MAX_AGE
    change = Change((*publish(body(A, B)), add(B), remove(A, txt=wait, **{f"add {B}": TTL})))
    failures = prove(WORLD, change).failures
    assert {Harm.REFUSED} == {failure.harm for failure in failures}
    assert all("failed, deletions ran all the same" in failure.run for failure in failures)
    steps = tuple(replace(step, deletion=False) for step in change.steps)
    assert prove(WORLD, Change(steps)).safe


def test_a_roll_back_after_an_interruption_takes_a_fresh_id() -> None:
    """Rolled back between file and id, some hold the new body under the old id: the id must change all the same."""
    change = SAFE["add an MX host"][1]
    backs = [run for run in runs(WORLD, change) if run.again]
    assert all({"id1", "id2"}.isdisjoint({run.states[-1].txt}) for run in backs)
    by_hand = replace(change, roll_back=(Step("policy", Kind.POLICY, body(A)),))
    assert Harm.LOCKED_IN in {failure.harm for failure in prove(WORLD, by_hand).failures}


def test_a_failure_says_what_happens() -> None:
    """The words name the steps with their times, the sender, what it holds and sees, and whether waiting helps."""
    world, change, _ = FAULTS["MX deleted with its replacement"]
    messages = [str(failure) for failure in prove(world, change).failures]
    assert (
        f"refused: policy at 0 s, txt at 0 s, add {B} at 720 s, remove {A} at 1020 s; then a sender holds "
        f"enforce {{{A}}} under id id1 from before and sees {B}: it may use none of them; waiting does not help"
    ) in messages


def test_a_failure_carries_its_time_line_as_data() -> None:
    """Events are those of `timeline.jsonl`, history first, and can be written down as JSON."""
    failure = _failure("id not renewed")
    events = [json.loads(json.dumps(event)) for event in failure.events]
    assert {("t", "domain", "kind", "value", "ttl")} == {tuple(event) for event in events}
    assert sorted(events, key=lambda event: event["t"]) == events
    last = events[-1]
    assert ("policy", body(A, B), 0) == (last["kind"], last["value"], last["ttl"])


def _failure(fault: str) -> Failure:
    world, change, _ = FAULTS[fault]
    return prove(world, change).failures[0]


def test_a_short_time_line_comes_first() -> None:
    """The first failure takes the fewest steps."""
    world, change, _ = FAULTS["MX deleted with its replacement"]
    lengths = [len(failure.steps) for failure in prove(world, change).failures]
    assert sorted(lengths) == lengths


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ((Step("one", Kind.TXT, "id2"), Step("two", Kind.TXT, "id3")), "need an order"),
        ((Step("one", Kind.POLICY, "x"), Step("two", Kind.ADDRESS)), "need an order"),
        ((Step("one", Kind.MX_ADD, B), Step("two", Kind.MX_REMOVE, B)), "need an order"),
        ((Step("one", Kind.MX_ADD, B), Step("two", Kind.MX, frozenset({A}))), "need an order"),
        ((Step("one", Kind.TXT, "id2", {"none": 0}),), "no step of this change"),
        ((Step("one", Kind.TXT, "id2"), Step("one", Kind.MX_ADD, B)), "one name"),
        ((Step("one", Kind.TXT, "id2", {"two": 0}), Step("two", Kind.MX_ADD, B, {"one": 0})), "wait for each other"),
        ((remove(A), Step("add", Kind.MX_ADD, B, {f"remove {A}": 0})), "deletions come last"),
    ],
)
def test_steps_that_make_no_change_are_refused(steps: tuple[Step, ...], words: str) -> None:
    """Two values in no order, or steps that wait for what is not there, are an error, not a verdict."""
    with pytest.raises(ValueError, match=words):
        prove(WORLD, Change(steps))


def test_too_many_orders_are_refused() -> None:
    """What can't be looked through is an error that says what to do, never a guess."""
    many = MOST_CUTS.bit_length()
    hosts = [f"mx{number}.example.org" for number in range(many)]
    with pytest.raises(TooManyOrdersError, match="split the change"):
        # Each with a TTL of its own: none stands for another.
        prove(WORLD, Change(tuple(Step(host, Kind.MX_ADD, host, ttl=ttl) for ttl, host in enumerate(hosts))))


OLD = [f"old{number}.example.com" for number in range(10)]
NEW = [f"new{number}.example.net" for number in range(10)]


def test_ten_mx_hosts_may_change_at_once() -> None:
    """Hosts that are alike stand for each other: a migration in one update is judged, and the words name every step."""
    world = replace(WORLD, mx=frozenset(OLD), policy=body(*OLD))
    adds, removals = tuple(map(add, NEW)), tuple(map(remove, OLD))
    assert prove(world, Change((*publish(body(*OLD, *NEW)), *adds))).safe
    assert prove(replace(world, mx=frozenset((*OLD, *NEW)), policy=body(*OLD, *NEW)), Change(removals)).safe
    failures = prove(world, Change((*publish(body(*OLD, *NEW)), *adds, *removals))).failures
    assert {Harm.REFUSED} == {failure.harm for failure in failures}
    done = [{name for _, name in failure.steps} for failure in failures]
    assert all({f"remove {host}" for host in OLD} <= names for names in done)
    # None, one (the others failed) or all of the new hosts are there by then.
    assert [0, 1, 10] == [len(names & {step.name for step in adds}) for names in done]


def test_the_simulator_delivers_in_every_temperament() -> None:
    """Without a choice of senders, every temperament meets all circumstances; a quiet domain loses nothing."""
    events = [
        {"t": 0, "domain": "example.com", "kind": "mx", "value": [A], "ttl": TTL},
        {"t": 0, "domain": "example.com", "kind": "policy", "value": body(A), "ttl": 0},
        {"t": 0, "domain": "example.com", "kind": "txt", "value": "v=STSv1; id=id1;", "ttl": TTL},
    ]
    tally = replay(events)
    # One moment to begin at; caches of one value are alike: what differs is how a fetch goes and when there is mail.
    assert 144 * 8 == tally.senders
    assert tally.deliveries >= tally.senders
    assert (0, 0, 0, 0, 0) == (
        tally.refused,
        tally.locked_in,
        tally.downgraded,
        tally.skipped,
        tally.skipped_unasked,
    )


def test_the_simulator_knows_an_mx_host_that_fails_tls() -> None:
    """An `mxtls` event lists the hosts that fail; in enforce their mail waits, and only where they are."""
    events = [
        {"t": 0, "domain": domain, "kind": kind, "value": value, "ttl": 0}
        for domain in ("example.com", "example.net")
        for kind, value in (("mx", [A]), ("policy", body(A)), ("txt", "v=STSv1; id=id1;"))
    ]
    events.append({"t": 10, "domain": "example.net", "kind": "mxtls", "value": [A], "ttl": 0})
    tally = replay(events, [(Temperament(), Circumstances())])
    assert tally.refused > 0
    assert "example.net" in tally.examples["refused"]
    assert 0 == replay(events[:3], [(Temperament(), Circumstances())]).refused


def test_tallies_add_up() -> None:
    """Replays of several time-lines are one tally in the end."""
    failure = _failure("id not renewed")
    once = replay(failure.events, population(), since=0)
    twice = replay(failure.events, population(), since=0)
    twice.add(once)
    assert (2 * once.deliveries, 2 * once.locked_in) == (twice.deliveries, twice.locked_in)


def test_there_are_no_circumstances_twice() -> None:
    """Every combination of caches and fetches comes once."""
    assert 3**3 * 2**3 == len(set(circumstances())) == len(list(circumstances()))
