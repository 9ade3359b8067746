"""Each of the component's safeguards, taken out: the campaign, or a real sender, must find what then happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pulumi_mta_sts import domain_records, judgement

from sandbox.chaos.campaign import Interruption, Life, judge, prepare, run_cell
from sandbox.chaos.changes import CHANGES
from sandbox.senders import TEMPERAMENTS, sender_in
from tests.seeds import never_a_new_id, no_barrier, nothing, same_id_for_same_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sandbox.deployment import Deployment
    from sandbox.world.client import World

pytestmark = pytest.mark.engine

REPLACED, LOWERED, ADDED = (
    next(change for change in CHANGES if change.name == name)
    for name in ("all hosts replaced", "max-age lowered", "host added")
)
AT_ONCE, BACK = "a retry at once", "a roll-back"
HARMS = ("refused", "locked_in", "downgraded", "skipped")


SEEDED: dict[str, tuple[list[tuple[Any, str, Any]], str, str, str]] = {
    "an id comes back": ([(judgement, "next_id", same_id_for_same_bytes())], BACK, LOWERED.name, "locked_in"),
    "an id stays": ([(judgement, "next_id", never_a_new_id)], AT_ONCE, LOWERED.name, "locked_in"),
    "MX hosts go as their replacements come": (
        [(judgement, "needed_hosts", nothing)],
        AT_ONCE,
        REPLACED.name,
        "refused",
    ),
    "the policy forgets live MX hosts": ([(judgement, "retiring_hosts", nothing)], AT_ONCE, REPLACED.name, "skipped"),
    "MX hosts come at once": (
        [
            (domain_records, "policy_is_current", no_barrier),
            (judgement, "_not_due", lambda *_, **__: (frozenset(), [])),
        ],
        AT_ONCE,
        ADDED.name,
        "skipped",
    ),
}


def test_each_seeded_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every safeguard in place no harm is found; without one of them, the harm that it is there for."""
    changes = [REPLACED, LOWERED, ADDED]
    prepare(tmp_path / "prepared", changes)

    def lives(folder: str, followed_by: str) -> dict[str, Life]:
        seen = run_cell(tmp_path / "prepared", tmp_path / folder, Interruption(), [followed_by], changes)
        return {life.change: life for life in seen}

    for life in lives("whole", AT_ONCE).values():
        tally = judge(life)
        assert dict.fromkeys(HARMS, 0) == {harm: getattr(tally, harm) for harm in HARMS}, life.change
    for number, (seed, (patches, followed_by, change, harm)) in enumerate(SEEDED.items()):
        with monkeypatch.context() as patched:
            for place, name, replacement in patches:
                patched.setattr(place, name, replacement)
            life = lives(str(number), followed_by)[change]
        assert getattr(judge(life, share=5), harm) > 0, seed


OWN = {
    "domain": "example.com",
    "mode": "enforce",
    "acknowledge": "tested in the sandbox",
    "manage_mx": True,
    "mx": [{"host": "mx1.example.com", "preference": 10}],
    "reports": "mailto:tls-reports@example.com",
}


def test_without_the_barrier_at_the_edge_a_sender_is_locked_in(
    world: World, deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edge that serves yesterday's file: the barrier keeps the old id; without it a sender keeps the old file."""
    assert deploy(OWN).up().ok
    senders = [sender_in(world, TEMPERAMENTS["diligent"]) for _ in range(2)]
    before = [sender.deliver("example.com") for sender in senders]
    changed = OWN | {"max_age": 2_000_000}
    world.fault("edge", "mta-sts.example.com", "stale")

    assert "still serves another policy" in deploy(changed).up().errors
    assert before[0].policy_id == senders[0].deliver("example.com").policy_id

    monkeypatch.setattr(domain_records, "edge_serves", no_barrier)
    assert deploy(changed).up().ok
    senders[1].deliver("example.com")
    world.clear_faults()
    world.advance(3600)
    held = senders[1].deliver("example.com")
    assert (True, before[1].body) == (before[1].policy_id != held.policy_id, held.body)
