"""Three judges of a change that share no code: the proof, the simulator and the brute-force model must agree."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mta_sts.safety import Change, Harm, Kind, Verdict, World, prove, prover, replay
from mta_sts.safety.alike import Joined
from mta_sts.safety.runs import Run, runs
from mta_sts.safety.timeline import history, recorded
from tests.mta_sts.small_worlds import (
    changes,
    count_of,
    later,
    population,
    spread,
    spread_steps,
    third,
    worlds,
)

SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


def proved(world: World, change: Change) -> Verdict:
    """Prove a drawn change; steps that make no change are not of interest here."""
    try:
        return prove(world, change)
    except ValueError:
        assume(False)
        raise


def retracted(world: World) -> bool:
    """Whether there is no record now but was one: the proof lets senders hold on longer than these small worlds do."""
    return world.txt is None and bool(world.ledger or any(one.kind is Kind.TXT for one in world.earlier))


def only_in_caches(world: World) -> bool:
    """Whether caches give a policy that is served no more: which harms it does, on top of others, is judged roughly."""
    return any(one.kind is Kind.POLICY for one in world.earlier)


@settings(SLOW, max_examples=100)
@given(worlds(), changes())
def test_the_proof_finds_what_brute_force_finds(world: World, change: Change) -> None:
    """Both find the same harms, also where others are done already: nothing is missed, or refused without reason."""
    found = {str(failure.harm) for failure in proved(world, change).failures}
    possible = third(world, change)
    assert found or not possible
    if not only_in_caches(world):
        assert possible <= found
        if not retracted(world):
            assert possible == found


@settings(SLOW, max_examples=25)
@given(worlds(), changes())
def test_each_failure_happens_in_the_simulator(world: World, change: Change) -> None:
    """The time-line that a failure carries does that very harm to simulated senders."""
    # A fetch that begins as an id goes ends later: the ledger counts it, a history in right order does not show it.
    assume(not (world.ledger and world.fetch_limit) and not retracted(world))
    for failure in proved(world, change).failures:
        # Whether an old body is wrong where deletions are still to come, the proof decides from every order.
        complete = failure.complete or failure.harm is Harm.LOCKED_IN
        tally = replay(
            failure.events, population(), since=0, complete=complete, fetch_limit=world.fetch_limit, compared=True
        )
        assert count_of(failure.harm, tally) > 0, failure


@settings(SLOW, max_examples=25)
@given(worlds(), changes(), st.booleans(), st.data())
def test_what_is_safe_never_fails_in_the_simulator(
    world: World, change: Change, component: bool, data: st.DataObject
) -> None:
    """Whatever run of a safe change is drawn, with whatever delays, interrupted or rolled back: nobody is harmed."""
    change = replace(change, roll_back=None) if component else change
    assume(proved(world, change).safe)
    run = data.draw(st.sampled_from(list(runs(world, change))))
    cut = data.draw(st.sampled_from(run.cuts))
    steps = [(at, run.steps[place]) for at, place in drawn_times(run, cut, data)]
    tally = replay(
        [*history(world), *recorded(world, steps)],
        population(),
        since=0,
        complete=len(steps) == len(run.steps),
        fetch_limit=world.fetch_limit,
        compared=True,
    )
    # A roll-back that is itself interrupted is put right by the next run: the proof judges it when it is done.
    unfinished = run.again and len(steps) < len(run.steps)
    harms = [harm for harm in Harm if not (unfinished and harm is Harm.LOCKED_IN)]
    assert [] == [harm for harm in harms if count_of(harm, tally)], tally.examples


@settings(SLOW, max_examples=40)
@given(worlds(), changes(most=2))
def test_mx_hosts_that_are_alike_stand_for_each_other(world: World, change: Change) -> None:
    """Taken together or one by one, steps of MX hosts that are alike do the same harm, up to the same date."""
    world, change = spread(world), replace(change, steps=spread_steps(change.steps))
    change = replace(change, roll_back=spread_steps(change.roll_back or ()))
    few = proved(world, change)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prover, "joined", lambda _, change, __: Joined(change, {}, {}))
        full = proved(world, change)
    assert harms(full) == harms(few)
    assert full.skips == few.skips


def harms(verdict: Verdict) -> dict[Harm, tuple[float, int]]:
    """Return each harm, until when it can be done, and in how few steps."""
    return {
        harm: (
            max(one.until for one in verdict.failures if one.harm is harm),
            min(len(one.steps) for one in verdict.failures if one.harm is harm),
        )
        for harm in {one.harm for one in verdict.failures}
    }


def drawn_times(run: Run, cut: int, data: st.DataObject) -> list[tuple[float, int]]:
    """Return when each step of a cut is done: as soon as it may be, or some seconds later."""
    times: dict[int, float] = {}
    for place, before in enumerate(run.before):
        if cut >> place & 1:
            least = max((times[other] + wait for other, wait in before.items()), default=0.0)
            times[place] = least + data.draw(st.integers(0, 3))
    return sorted((at, place) for place, at in times.items())


@settings(SLOW, max_examples=15)
@given(worlds(), changes(most=1))
def test_the_date_is_exact(world: World, change: Change) -> None:
    """Begun at the date that the proof names the change is safe, and a second before it is not."""
    # What was taken from caches by then would have to stand in the ledger of the later world.
    assume(all(one.kind is Kind.MX for one in world.earlier))
    # A fetch under way as the id goes is in the ledger of neither world.
    world = replace(world, fetch_limit=0)
    date = proved(world, change).safe_from
    assume(date is not None and not math.isinf(date) and date > 0)
    assert prove(later(world, date), change).safe
    assert not prove(later(world, date - 1), change).safe
