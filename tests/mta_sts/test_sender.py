"""What senders hold, when they look, and where they deliver; the cases of others, each with a scene of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mta_sts.sender import (
    LONGEST_CAP,
    Held,
    Looks,
    LookupFailedError,
    Outcome,
    Sender,
    Temperament,
    Unchanged,
    temperaments,
)
from tests.conftest import vector_parameters
from tests.mta_sts.small_worlds import body

if TYPE_CHECKING:
    from collections.abc import Callable

DOMAIN = "example.com"
A, B = "mx1.example.com", "mx2.example.com"
DAY = 86_400
OLD, NEW = body(A, max_age=7 * DAY), body(B, max_age=7 * DAY)


class Scene:
    """What a sender meets, and how often it was asked; each part can fail."""

    def __init__(self, temperament: Temperament | None = None) -> None:
        self.now = 1_000_000.0
        self.hosts: list[tuple[int, str]] | None = [(10, A)]
        self.texts: list[str] | None = ["v=STSv1; id=one;"]
        self.body: str | None = OLD
        self.broken: set[str] = set()
        self.asked: list[str] = []
        self.sender = Sender(
            temperament, clock=lambda: self.now, resolver=self, fetch=self.fetch, deliverable=self.deliverable
        )

    def mx(self, _: str) -> list[tuple[int, str]]:
        """Answer for the MX records; None is SERVFAIL."""
        self.asked.append("mx")
        if self.hosts is None:
            raise LookupFailedError("SERVFAIL")
        return self.hosts

    def txt(self, name: str) -> list[str]:
        """Answer for the record; None is SERVFAIL."""
        self.asked.append("txt")
        assert f"_mta-sts.{DOMAIN}" == name
        if self.texts is None:
            raise LookupFailedError("SERVFAIL")
        return self.texts

    def fetch(self, domain: str) -> bytes:
        """Serve the policy."""
        self.asked.append("fetch")
        if self.body is None:
            raise ConnectionError(domain)
        return self.body.encode()

    def deliverable(self, host: str) -> bool:
        """Whether a host passes STARTTLS and its certificate."""
        self.asked.append(host)
        return host not in self.broken

    def deliver(self) -> Any:
        """Deliver one mail, and forget what was asked before."""
        self.asked.clear()
        return self.sender.deliver(DOMAIN)

    def publish(self, text: str | None, identifier: str = "two") -> None:
        """Put another policy and id there."""
        self.body = text
        self.texts = [f"v=STSv1; id={identifier};"]

    @property
    def held(self) -> Held:
        """What the sender remembers."""
        return self.sender.held[DOMAIN]


def holding(temperament: Temperament | None = None) -> Scene:
    """Return a scene in which the old policy is held."""
    scene = Scene(temperament)
    assert OLD == scene.deliver().body
    return scene


RENEWING = Temperament(unchanged=Unchanged.RENEWS)
LAZY = Temperament(looks=Looks.AT_EXPIRY, cap=LONGEST_CAP, asks_before_refusing=False)


def _unchanged_renews() -> None:
    scene = holding(RENEWING)
    scene.now += DAY
    scene.deliver()
    assert "fetch" not in scene.asked
    assert scene.now + 7 * DAY == scene.held.expires


def _changed_replaces() -> None:
    scene = holding()
    scene.publish(NEW)
    scene.hosts = [(10, B)]
    delivery = scene.deliver()
    assert (Outcome.DELIVERED, B, "two", NEW) == (delivery.outcome, delivery.host, delivery.policy_id, delivery.body)


def _enforced_until_it_expires(change: Callable[[Scene], None]) -> None:
    """Assert that a foreign MX host is refused while the old policy is held, and used when it has expired."""
    scene = holding()
    change(scene)
    scene.hosts = [(10, "evil.example.net")]
    scene.now += 7 * DAY - 1
    assert (Outcome.REFUSED, OLD) == (scene.deliver().outcome, scene.deliver().body)
    scene.now += 1
    delivery = scene.deliver()
    assert (Outcome.DELIVERED, "") == (delivery.outcome, delivery.policy_id)


def _txt_timeout() -> None:
    def change(scene: Scene) -> None:
        scene.texts = None

    _enforced_until_it_expires(change)


def _txt_gone() -> None:
    def change(scene: Scene) -> None:
        scene.texts = []

    _enforced_until_it_expires(change)


def _fetch_fails() -> None:
    _enforced_until_it_expires(lambda scene: scene.publish(None))


def _new_file_invalid() -> None:
    _enforced_until_it_expires(lambda scene: scene.publish("version: STSv1\nmode: enforce\n"))


def _max_age_zero() -> None:
    scene = Scene()
    scene.body = body(B, max_age=0)
    assert Outcome.REFUSED is scene.deliver().outcome
    assert {} == scene.sender.held


def _same_id_no_fetch() -> None:
    scene = holding()
    scene.now += 7 * DAY - 1
    scene.deliver()
    assert ["mx", "txt", A] == scene.asked


def _changed_before_max_age() -> None:
    scene = holding()
    scene.publish(NEW)
    scene.deliver()
    assert "fetch" in scene.asked


def _back_off() -> None:
    scene = Scene()
    scene.body = None
    scene.deliver()
    scene.now += 299
    scene.deliver()
    assert "fetch" not in scene.asked
    scene.publish(NEW, "two")
    assert "two" == scene.deliver().policy_id
    other = Scene()
    other.body = None
    other.deliver()
    other.now += 300
    other.deliver()
    assert "fetch" in other.asked


def _gone_stays_valid() -> None:
    scene = holding(RENEWING)
    scene.texts = []
    assert OLD == scene.deliver().body
    scene.publish(NEW)
    assert NEW == scene.deliver().body


def _failure_kept_an_hour() -> None:
    scene = Scene(Temperament(retry_after=3600))
    scene.body = None
    assert (Outcome.DELIVERED, "none", "") == (scene.deliver().outcome, scene.deliver().mode, scene.deliver().body)
    scene.body = OLD
    scene.now += 3599
    assert "" == scene.deliver().body
    scene.now += 1
    assert OLD == scene.deliver().body


def _id_ignored_until_max_age() -> None:
    scene = holding(LAZY)
    scene.publish(NEW)
    scene.hosts = [(10, B)]
    scene.now += 7 * DAY - 58 * 3600
    delivery = scene.deliver()
    assert (Outcome.REFUSED, OLD) == (delivery.outcome, delivery.body)
    assert ["mx"] == scene.asked
    scene.now += 58 * 3600
    assert (Outcome.DELIVERED, NEW) == (scene.deliver().outcome, scene.deliver().body)


def _body_changed_id_kept() -> None:
    old, new = holding(RENEWING), Scene(RENEWING)
    for scene in (old, new):
        scene.body, scene.hosts = NEW, [(10, B)]
    for _ in range(100):
        old.now += 6 * DAY
        assert (Outcome.REFUSED, OLD) == (old.deliver().outcome, old.deliver().body)
    assert Outcome.DELIVERED is new.deliver().outcome


SCENES = {
    "held policy, TXT id unchanged": _unchanged_renews,
    "held policy, TXT id changed, fetch ok": _changed_replaces,
    "held policy, TXT timeout": _txt_timeout,
    "held policy, TXT record gone": _txt_gone,
    "held policy, id changed, fetch fails": _fetch_fails,
    "held policy, id changed, new file invalid": _new_file_invalid,
    "max_age 0 policy just fetched": _max_age_zero,
    "second lookup within max_age, same id": _same_id_no_fetch,
    "id changed before max_age": _changed_before_max_age,
    "fetch failed for an id": _back_off,
    "daily refresh, TXT id unchanged": _unchanged_renews,
    "cached, TXT gone": _gone_stays_valid,
    "fetch error without known policy": _failure_kept_an_hour,
    "owner changed MX, policy and TXT id; sender had cached the policy": _id_ignored_until_max_age,
    "policy body changed, TXT id not changed": _body_changed_id_kept,
}


@pytest.mark.parametrize("vector", vector_parameters("sender_cache.json", "cases"))
def test_each_case_of_others_has_a_scene(vector: dict[str, str]) -> None:
    """A case that was seen in another project is played here; a new one without a scene fails."""
    SCENES[vector["case"]]()


@pytest.mark.parametrize("name", SCENES)
def test_scenes(name: str) -> None:
    """The same scenes, without the vectors."""
    SCENES[name]()


@pytest.mark.parametrize("temperament", list(temperaments()))
def test_what_every_temperament_has_in_common(temperament: Temperament) -> None:
    """Each keeps to a held enforce policy, in either mode of look-up, for max_age or its cap, and to none after."""
    scene = Scene(temperament)
    scene.body = body(A, max_age=90 * DAY)
    scene.hosts = [(10, B), (20, A)]
    delivery = scene.deliver()
    assert (Outcome.DELIVERED, A, (B,)) == (delivery.outcome, delivery.host, delivery.skipped)
    assert ["mx", "txt", "fetch", A] == (
        scene.asked if temperament.mx_first else [scene.asked[2], *scene.asked[:2], *scene.asked[3:]]
    )
    scene.body, scene.texts, scene.hosts = None, [], [(10, B)]
    lifetime = 90 * DAY if temperament.cap is None else LONGEST_CAP
    scene.now += lifetime - 1
    assert Outcome.REFUSED is scene.deliver().outcome
    scene.now += 1
    assert Outcome.DELIVERED is scene.deliver().outcome


@pytest.mark.parametrize("temperament", list(temperaments()))
def test_what_an_unchanged_id_does(temperament: Temperament) -> None:
    """Unchanged, it renews for those that look and renew; expired, it revives for those that revive; else a fetch."""
    scene = holding(temperament)
    scene.now += DAY
    scene.deliver()
    renews = temperament.unchanged is not Unchanged.NOTHING and temperament.looks is Looks.EACH_DELIVERY
    refetches = temperament.looks is Looks.NEVER
    assert (8 * DAY if renews or refetches else 7 * DAY) == scene.held.expires - 1_000_000
    assert refetches == ("fetch" in scene.asked)
    scene.now += 30 * DAY
    scene.hosts, scene.body = [(10, B)], NEW
    delivery = scene.deliver()
    revived = temperament.unchanged is Unchanged.REVIVES
    assert (OLD if revived else NEW) == delivery.body


@pytest.mark.parametrize("temperament", list(temperaments()))
def test_who_follows_a_new_id(temperament: Temperament) -> None:
    """Who looks, or asks before it refuses, follows at once; who refetches, when due; others at expiry."""
    scene = holding(temperament)
    scene.publish(NEW)
    scene.hosts = [(10, B)]
    at_once = temperament.looks is Looks.EACH_DELIVERY or temperament.asks_before_refusing
    assert (Outcome.DELIVERED if at_once else Outcome.REFUSED) is scene.deliver().outcome
    scene.now += temperament.refetch_after
    later = at_once or temperament.looks is Looks.NEVER
    assert (Outcome.DELIVERED if later else Outcome.REFUSED) is scene.deliver().outcome
    scene.now += 7 * DAY
    assert Outcome.DELIVERED is scene.deliver().outcome


@pytest.mark.parametrize("kept", [0, 1800])
def test_absence_is_taken_for_granted(kept: int) -> None:
    """One that remembers "no record" does not ask again before that has passed."""
    scene = Scene(Temperament(absence_kept=kept))
    scene.texts = []
    assert "" == scene.deliver().policy_id
    scene.texts = ["v=STSv1; id=one;"]
    scene.now += 1799
    assert ("one" if kept == 0 else "") == scene.deliver().policy_id
    scene.now += 1
    assert "one" == scene.deliver().policy_id


def test_a_fresh_look_comes_before_a_refusal() -> None:
    """RFC 8461 §5.1: also one that would not look, or thinks there is no record, looks before mail fails."""
    scene = holding(Temperament(absence_kept=1800))
    scene.texts = []
    scene.deliver()
    scene.publish(NEW)
    scene.hosts = [(10, B)]
    assert (Outcome.DELIVERED, "two") == (scene.deliver().outcome, scene.sender.held[DOMAIN].id)


def test_hosts_that_fail_tls_are_passed_by() -> None:
    """In enforce the next host is used, by preference; where all fail the mail waits; testing delivers anyway."""
    scene = Scene()
    scene.body = body(A, B)
    scene.hosts = [(20, B), (10, A)]
    scene.broken = {A}
    delivery = scene.deliver()
    assert (Outcome.DELIVERED, B, (A,)) == (delivery.outcome, delivery.host, delivery.skipped)
    scene.broken = {A, B}
    assert (Outcome.REFUSED, (A, B)) == (scene.deliver().outcome, scene.deliver().skipped)
    scene.publish(body(A, mode="testing"))
    delivery = scene.deliver()
    assert (Outcome.DELIVERED, A, "testing") == (delivery.outcome, delivery.host, delivery.mode)


@pytest.mark.parametrize("mx_first", [True, False])
def test_no_answer_is_not_no_record(mx_first: bool) -> None:
    """Where the MX look-up fails the mail waits; where there is no MX record, that is another outcome."""
    scene = Scene(Temperament(mx_first=mx_first))
    scene.hosts = None
    assert Outcome.DEFERRED is scene.deliver().outcome
    scene.hosts = []
    assert Outcome.NO_MX is scene.deliver().outcome


def test_a_second_record_is_no_record() -> None:
    """RFC 8461 §3.1: not exactly one record means none."""
    scene = Scene()
    scene.texts = ["v=STSv1; id=one;", "v=STSv1; id=two;"]
    assert "" == scene.deliver().policy_id
    assert "fetch" not in scene.asked


def test_a_delivery_says_why() -> None:
    """Each delivery names what its policy rests on."""
    scene = Scene()
    assert "fetched" == scene.deliver().reason
    assert "the id is unchanged" == scene.deliver().reason
    scene.texts = []
    assert "there is no usable record" == scene.deliver().reason
    scene.publish(None, "two")
    assert "the fetch failed: example.com" == scene.deliver().reason
    assert "the fetch failed a short while ago" == scene.deliver().reason


def test_a_cache_outlives_its_sender() -> None:
    """What a sender remembers (policies, failures, absence) goes through JSON into another one."""
    first = holding(Temperament(absence_kept=1800))
    first.publish(None, "two")
    first.deliver()
    first.sender._absent["example.net"] = first.now + 1
    kept = json.loads(json.dumps(first.sender.export()))
    second = Scene(Temperament(absence_kept=1800))
    second.sender.restore(kept)
    second.publish(NEW, "two")
    assert (OLD, "the fetch failed a short while ago") == (second.deliver().body, second.deliver().reason)
    assert kept == second.sender.export()


def test_a_clock_may_begin_anywhere() -> None:
    """Times are differences: a sender that lives before its clock's zero does what others do."""
    scene = Scene()
    scene.now = -1_000_000.0
    assert "one" == scene.deliver().policy_id


def test_there_are_no_two_equal_temperaments() -> None:
    """Every combination of habits comes once, the diligent one among them."""
    kinds = list(temperaments())
    assert 144 == len(set(kinds)) == len(kinds)
    assert Temperament() in kinds
