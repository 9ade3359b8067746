"""`mta_sts.review`: each change is called what it is, for the right reason, and nothing unseen is called safe."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mta_sts.ledger import FETCH_SECONDS
from mta_sts.review.markdown import to_markdown
from mta_sts.review.parts import Role
from mta_sts.review.plan import PlanError, read_plan
from mta_sts.review.reading import find_domains
from mta_sts.review.unread import Unread
from mta_sts.review.verdict import DomainReview, Grade, Review, review
from mta_sts.review.writers import to_json, to_text
from mta_sts.safety import Change, Harm, Kind, Step, World, prove, replay
from sandbox.review import EXAMPLE, UnexpectedError, _alike, expect, write_comments
from tests.mta_sts.small_plans import (
    CACHING_OPTIMIZED,
    DAY,
    DISTRIBUTION,
    DNS,
    DOMAIN,
    OBJECT,
    ROUTE53,
    UNKNOWN,
    body,
    document,
    edge,
    mx,
    plan,
    policy,
    step,
    txt,
    usual,
)

ROOT = Path(__file__).parents[2]
PLANS = Path(__file__).parent / "plans"
COMPONENT = "component"
USUAL = {
    "hash-of-inputs": (Harm.LOCKED_IN, ["id-unchanged"]),
    "timestamp": (Harm.LOCKED_IN, ["id-before-policy"]),
    "day-at-the-edge": (Harm.LOCKED_IN, ["edge-caches-policy"]),
    "mx-in-parallel": (Harm.REFUSED, ["mx-not-in-held-policy", "policy-without-live-mx", "no-mx-left"]),
    "record-first": (Harm.LOCKED_IN, ["id-before-policy"]),
    "dropped-with-mx": (Harm.REFUSED, ["mx-not-in-held-policy", "no-mx-left", "removed-while-held"]),
}
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
MX1, MX2, MX3 = (f"mx{number}.example.com" for number in (1, 2, 3))


def recorded(name: str) -> Review:
    """Review a plan that the real engine made."""
    return review([read_plan(name, (PLANS / f"{name}.json").read_bytes())])


def judged(steps: list[dict[str, Any]], **more: Any) -> DomainReview:
    """Review a plan that has one domain."""
    (domain,) = review([plan(steps, **more)]).domains
    return domain


def rules(domain: DomainReview) -> list[str]:
    """Return the reasons' rules in their order."""
    return [reason.rule for reason in domain.reasons]


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_style_is_unsafe_for_its_own_reason(name: str) -> None:
    """Plans of the real engine, of six hand-written programs."""
    (domain,) = recorded(name).domains
    assert (Grade.UNSAFE, USUAL[name][1]) == (domain.grade, rules(domain))
    assert f"{name}.example.com" == domain.domain
    assert USUAL[name][0] is domain.failures[0].harm


def test_make_review_knows_each_reason(tmp_path: Path) -> None:
    """It shows nothing for what it is not, and on request writes the comments for people to read."""
    for name in (*USUAL, COMPONENT):
        expect(name, recorded(name))
        write_comments(tmp_path, name, recorded(name), NOW)
    with pytest.raises(UnexpectedError, match="timestamp is called unsafe for id-unchanged, and should be unsafe for"):
        expect("timestamp", recorded("hash-of-inputs"))
    with pytest.raises(UnexpectedError, match="safe"):
        expect("timestamp", recorded(COMPONENT))
    pages = {file.stem: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert 1 + 2 * len(USUAL) == len(pages)
    assert pages[f"{COMPONENT}-timestamp.example.com"].startswith("**Safe to merge.")
    assert pages["timestamp"].startswith("**Unsafe: do not merge.")


def test_the_steps_of_a_way_out_harm_nobody() -> None:
    """A new host in the place of the old one, at the dates that the review gives; a day earlier mail is refused."""
    (domain,) = recorded("mx-in-parallel").domains
    published, added, gone, forgotten = (act.at for act in domain.way_out)
    bodies = [body(MX1), body(MX1, MX3), body(MX3)]
    world = World(mx=frozenset((MX1,)), mx_ttl=300, txt="one", txt_ttl=300, policy=bodies[0])

    def proved(early: float = 0.0) -> set[Harm]:
        steps = [
            Step("file", Kind.POLICY, bodies[1]),
            Step("txt", Kind.TXT, "two", {"file": 0.0}),
            Step("new host", Kind.MX_ADD, frozenset((MX3,)), {"txt": added - published}),
            Step("old host", Kind.MX_REMOVE, frozenset((MX1,)), {"new host": gone - added - early}),
            Step("last file", Kind.POLICY, bodies[2], {"old host": forgotten - gone}),
            Step("last txt", Kind.TXT, "three", {"last file": 0.0}),
        ]
        return {failure.harm for failure in prove(world, Change(steps)).failures}

    assert set() == proved()
    assert {Harm.REFUSED} == proved(early=DAY)


def test_what_has_to_be_right_first_stands_first() -> None:
    """Of several reasons one recipe: the program's order, the caches, then the new hosts; what two ask for, once."""
    hosts = ((MX1,), (MX3,))
    unordered = usual(new=policy(MX3), ids=("one", "two"), hosts=hosts, cache=CACHING_OPTIMIZED, ordered=False)
    domain = judged(unordered)
    assert {"mx-not-in-held-policy", "id-before-policy"} <= set(rules(domain))
    assert [
        "Make the record depend on the policy file (`depends_on`), and on what serves it.",
        "Switch the caching off (CloudFront's managed policy CachingDisabled), and change nothing else.",
        f"Publish a policy that lists {MX1} and {MX3}, under a new id, and leave the MX records as they are.",
    ] == [act.text for act in domain.way_out[:3]]
    assert [act.at for act in domain.way_out] == sorted(act.at for act in domain.way_out)
    assert DAY == domain.way_out[2].at


def test_a_host_that_only_the_new_policy_lists_stays_in_the_way_out() -> None:
    """Its MX record may come in a later change: to publish what stands already would lead nowhere."""
    (act,) = judged(usual(new=policy(MX3), ids=("one", "two"))).way_out
    assert f"Publish a policy that lists {MX1} and {MX3}, under a new id." == act.text


def test_the_example_is_not_written_anew_for_its_dates_and_ids() -> None:
    """Each run of `make review` has others, in two forms."""
    page = EXAMPLE.read_text(encoding="utf-8")
    later = re.sub(r"\d\d:\d\d( UTC|\+00:00)", r"23:59\1", re.sub(r"-\d\d(?=[ T]\d\d:)", "-31", page))
    assert page != later
    assert _alike(page) == _alike(later)


@pytest.mark.parametrize("name", USUAL)
def test_senders_confirm_the_time_line_that_is_shown(name: str) -> None:
    """The simulator's senders meet that very harm along it."""
    (domain,) = recorded(name).domains
    failure = domain.failures[0]
    tally = replay(failure.events, since=0.0, complete=failure.complete)
    assert {Harm.REFUSED: tally.refused, Harm.LOCKED_IN: tally.locked_in}[failure.harm] > 0


def test_our_component_makes_the_same_changes_safely() -> None:
    """One plan of the real engine with all six domains."""
    found = recorded(COMPONENT)
    assert {f"{name}.example.com": Grade.SAFE for name in USUAL} == {one.domain: one.grade for one in found.domains}
    # The fault of the third style is not in what it declares.
    assert all(domain.changes and domain.ours for domain in found.domains)
    assert Grade.SAFE is found.grade


@pytest.mark.parametrize(
    "name", ["component-first", "component-adds-a-domain", "component-takes-a-domain-off", "usual-first"]
)
def test_what_grows_and_goes_in_its_usual_way_is_no_noise(name: str) -> None:
    """First deployments; a shared host that serves one domain more; a domain whose policy was taken back in time."""
    found = recorded(name)
    assert (Grade.SAFE, [], []) == (found.grade, found.unseen, found.problems)
    assert any(domain.changes for domain in found.domains)


def test_a_host_that_the_component_keeps_is_named_as_retiring() -> None:
    """It is ours, not drift, and the note says so."""
    (domain,) = (one for one in recorded(COMPONENT).domains if one.domain.startswith("mx-in-parallel"))
    assert (MX1,) == domain.retiring
    assert (MX1, MX3) == domain.after.mx
    assert any(note.startswith(f"{MX1} is no longer declared") for note in domain.notes)


def test_an_ordered_change_with_a_new_id_and_no_caching_is_safe() -> None:
    """Whoever writes it: what senders see decides."""
    domain = judged(usual(new=policy(MX1, max_age=30 * DAY), ids=("one", "two")))
    assert (Grade.SAFE, True, False) == (domain.grade, domain.changes, domain.ours)


@pytest.mark.parametrize(
    ("steps", "grade", "expected"),
    [
        (usual(new=policy(MX1, max_age=DAY)), Grade.UNSAFE, "id-unchanged"),
        (usual(new=policy(MX1, max_age=DAY), ids=("one", "two"), ordered=False), Grade.UNSAFE, "id-before-policy"),
        (
            usual(new=policy(MX1, max_age=DAY), ids=("one", "two"), cache=CACHING_OPTIMIZED),
            Grade.UNSAFE,
            "edge-caches-policy",
        ),
        (usual(hosts=((MX1,), (MX2,))), Grade.UNSAFE, "mx-not-in-held-policy"),
        (usual(hosts=((MX1,), ())), Grade.UNSAFE, "no-mx-left"),
        (usual(hosts=((MX1,), (MX1, MX2))), Grade.DEGRADED, "host-skipped"),
        (usual(new=policy(MX1, MX2), ids=("one", "two"), hosts=((MX1,), (MX1, MX2))), Grade.DEGRADED, "host-skipped"),
        (usual(new=policy(MX2), ids=("one", "two")), Grade.UNSAFE, "policy-without-live-mx"),
        (usual(ids=("one", None)), Grade.UNSAFE, "removed-while-held"),
        (usual(ids=("one", "no id")), Grade.UNSAFE, "sts-record-invalid"),
        (usual(new=policy(MX1, mode="enforced"), ids=("one", "two")), Grade.UNSAFE, "policy-invalid"),
    ],
)
def test_each_fault_has_its_rule(steps: list[dict[str, Any]], grade: Grade, expected: str) -> None:
    """One mutation each of a program that is otherwise right."""
    domain = judged(steps)
    assert (grade, expected) == (domain.grade, rules(domain)[0])
    assert domain.headline


def test_a_policy_that_nobody_enforces_may_go() -> None:
    """Senders that hold testing or none refuse nothing."""
    old = policy(MX1, mode="none", max_age=DAY)
    domain = judged([step("policy", OBJECT, old, None), *usual(ids=("one", None))[2:], *usual()[:1]])
    assert Grade.SAFE is domain.grade


def test_a_policy_object_that_stays_in_the_bucket_is_still_served() -> None:
    """`retain_on_delete`: it leaves the stack, and nothing changes for senders."""
    steps = usual()
    steps[1] = step("policy", OBJECT, policy(MX1), None, retainOnDelete=True)
    assert (Grade.SAFE, False) == (judged(steps).grade, judged(steps).changes)


@pytest.mark.parametrize(
    ("deletion", "expected"),
    [(0, "the policy is served no more"), (1, "the policy is served no more"), (2, "_mta-sts shows no usable record")],
)
def test_whatever_serves_a_policy_takes_it_away_when_it_goes(deletion: int, expected: str) -> None:
    """Distribution, object or record."""
    steps = usual()
    gone = steps[deletion]
    steps[deletion] = {key: value for key, value in gone.items() if key != "newState"} | {"op": "delete"}
    domain = judged(steps)
    assert (Grade.UNSAFE, "removed-while-held") == (domain.grade, rules(domain)[0])
    assert expected.casefold() in [moment.what.casefold() for moment in domain.moments]


BUCKET = "aws:s3/bucket:Bucket"


@pytest.mark.parametrize("lifted", ["sts", f"mx-{MX1}", "policies"])
@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_lifted_protection_is_remarked_with_its_time(lifted: str, mode: str) -> None:
    """Of a record or of the bucket, also where nothing else changes: a policy pack never sees the deletion after it."""
    steps = [*usual(policy(MX1, mode=mode)), step("policies", BUCKET, {"bucket": "policies"}, {"bucket": "policies"})]
    (of,) = [each for each in steps if each["urn"].endswith(f"::{lifted}")]
    of["oldState"]["protect"] = True
    domain = judged(steps)
    (remark,) = domain.remarks
    assert (Grade.SAFE, False, "protection-lifted") == (domain.grade, domain.changes, remark.rule)
    assert f"lifted from {lifted}." in remark.text
    assert ("mail would lose its protection" if mode == "enforce" else "no mail would be lost") in remark.text
    assert 10 * DAY + 300 + FETCH_SECONDS == remark.way_out[-1].at


def test_lifted_protection_after_the_policy_was_taken_back() -> None:
    """No date can be told from the plan; another bucket's protection is no domain's."""
    steps = [*usual(policy(MX1, mode="none")), step("other", BUCKET, {"bucket": "other"}, {"bucket": "other"})]
    steps[-1]["oldState"]["protect"] = True
    assert () == judged(steps).remarks
    steps[2]["oldState"]["protect"] = True
    (remark,) = judged(steps).remarks
    (look,) = remark.way_out
    assert ("protection-lifted", 0.0, True) == (remark.rule, look.at, "--live" in look.text)


def test_reports_that_end_are_remarked() -> None:
    """While a policy is there: mail may fail, and nobody hears of it."""
    reports = {"name": f"_smtp._tls.{DOMAIN}", "type": "TXT", "content": '"v=TLSRPTv1; rua=mailto:a@example.com"'}
    going = step("reports", DNS, reports, None)
    assert ["reports-end"] == [each.rule for each in judged([*usual(), going]).remarks]
    assert () == judged([*usual(policy(MX1, mode="none")), going]).remarks


@pytest.mark.parametrize("mode", ["testing", "none"])
def test_enforce_is_remarked_when_it_begins_or_ends(mode: str) -> None:
    """Not while it goes on."""
    other = policy(MX1, mode=mode)
    begins = usual(other, policy(MX1), ids=("one", "two"))
    assert ["enforce-begins"] == [each.rule for each in judged(begins).remarks]
    ends = usual(policy(MX1), other, ids=("one", "two"))
    assert ["enforce-ends"] == [each.rule for each in judged(ends).remarks]
    assert () == judged(usual(new=policy(MX1, max_age=DAY), ids=("one", "two"))).remarks


WINDOW = {
    "first_day": "2026-06-01",
    "last_day": "2026-06-10",
    "clean_from": "2026-06-01",
    "days_with_reports": 9,
    "successful_sessions": 1234,
    "organizations": 1,
    "told_by": ["google.com: Google"],
}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "Nothing in the plan tells whether TLS reports show that mail would arrive."),
        ({"acknowledge": "the vendor `saw`"}, "Without evidence from reports; acknowledged: the vendor `saw`."),
        (
            {"evidence": WINDOW},
            "On evidence from 2026-06-01 to 2026-06-10: 1,234 sessions, 1 sender, 9 days, told by google.com: Google",
        ),
        ({"evidence": WINDOW, "acknowledge": "x"}, "Google; acknowledged: x."),
        ({"evidence": "[secret]", "acknowledge": UNKNOWN}, "Nothing in the plan tells"),
    ],
)
def test_the_step_to_enforce_says_what_it_rests_on(inputs: dict[str, Any], said: str) -> None:
    """As our component was told: that is all a reviewer sees of it."""
    steps = usual(policy(MX1, mode="testing"), policy(MX1), ids=("one", "two"))
    steps.append(step("mail", "mta-sts:index:MtaSts", {}, {"domain": DOMAIN, **inputs}))
    domain = judged(steps)
    (remark,) = domain.remarks
    assert said in remark.text
    found = to_json(review([plan(steps)]), NOW), to_markdown(review([plan(steps)]), NOW)
    assert (json.loads(found[0])["domains"][0]["after"]["enforce_rests_on"] is None) == said.startswith("Nothing")
    assert ("| enforce rests on | none |" in found[1]) != said.startswith("Nothing")


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
@pytest.mark.parametrize("left", [(), (".",)], ids=["nothing", "a null MX"])
def test_a_domain_left_without_mx_hosts_is_said_to_be(mode: str, left: tuple[str, ...]) -> None:
    """Nobody refuses anything: mail finds no host."""
    domain = judged(usual(policy(MX1, mode=mode), hosts=((MX1,), left)))
    assert (Grade.UNSAFE, ["no-mx-left"]) == (domain.grade, rules(domain))
    assert "no MX host would be in DNS, so mail would not arrive" == domain.headline
    assert not domain.after.mx


def test_route_53_is_read_as_cloudflare_is() -> None:
    """One record of a whole RRset, values with preference; its name ends in a dot."""

    def hosts(*names: str) -> dict[str, Any]:
        values = [f"10 {name}." for name in names]
        return {"name": f"{DOMAIN}.", "type": "MX", "ttl": 600, "records": values, "zoneId": "Z1"}

    record = {"name": f"_mta-sts.{DOMAIN}", "type": "TXT", "ttl": 60, "records": ["v=STSv1; id=one"], "zoneId": "Z1"}
    rest = [step("sts", ROUTE53, record, record), step("mx", ROUTE53, hosts(MX1), hosts(MX2))]
    domain = judged([*usual()[:2], *rest])
    assert ((MX1,), (MX2,), "one") == (domain.before.mx, domain.after.mx, domain.before.id)
    assert (Grade.UNSAFE, ["mx-not-in-held-policy"]) == (domain.grade, rules(domain))


def test_relative_names_get_the_zone_that_the_program_makes() -> None:
    """`@` and `_mta-sts`, as older Cloudflare programs have them."""
    zone = "cloudflare:index/zone:Zone"
    kind = "cloudflare:index/record:Record"
    made = {"zone": DOMAIN}
    record = {"name": "_mta-sts", "type": "TXT", "value": "v=STSv1; id=one", "zoneId": UNKNOWN}
    at_zone = [step("zone", zone, made, made), step("sts", kind, record, record, (zone, "zone"))]
    hosts = [{"name": "@", "type": "MX", "value": host, "zoneId": UNKNOWN} for host in (MX1, MX3)]
    domain = judged([*usual()[:2], *at_zone, step("mx", kind, *hosts, (zone, "zone"))])
    assert (DOMAIN, "one", (MX3,)) == (domain.domain, domain.before.id, domain.after.mx)


def test_an_object_whose_key_names_no_domain_belongs_to_the_edge_that_reads_its_bucket() -> None:
    """A bucket of its own for one domain."""
    steps = usual(policy(MX1, key=".well-known/mta-sts.txt"), policy(MX2, key=".well-known/mta-sts.txt"))
    assert body(MX2) == judged(steps).after.body


def test_the_order_of_dependencies_goes_through_what_stays_the_same() -> None:
    """The record waits for the distribution, and that one for the file."""
    steps = usual(new=policy(MX1, max_age=DAY), ids=("one", "two"), ordered=False)
    steps[0] = step("edge", DISTRIBUTION, edge(), edge(), (OBJECT, "policy"))
    steps[2] = step("sts", DNS, txt("one"), txt("two"), (DISTRIBUTION, "edge"))
    assert Grade.SAFE is judged(steps).grade


@pytest.mark.parametrize(
    ("cache", "control", "seconds"),
    [
        ("4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "max-age=60", 0),
        (CACHING_OPTIMIZED, "", DAY),
        (CACHING_OPTIMIZED, "public, max-age=60", 60),
        (CACHING_OPTIMIZED, "no-store", 1),
        (None, "", DAY),
        (None, "no-cache", 0),
    ],
)
def test_how_long_an_edge_keeps_a_file(cache: str | None, control: str, seconds: int) -> None:
    """The cache policy's times, and what the object says itself."""
    steps = usual(cache=cache)
    steps[1] = step("policy", OBJECT, *[policy(MX1) | {"cacheControl": control}] * 2)
    assert seconds == judged(steps).before.edge_seconds


def test_a_moved_policy_host_counts_with_its_old_address() -> None:
    """Resolvers go on with the old target for its TTL."""
    names = [{"name": f"mta-sts.{DOMAIN}", "type": "CNAME", "ttl": 900, "content": f"{to}.example"} for to in "ab"]
    steps = usual(new=policy(MX1, max_age=DAY), ids=("one", "two"))
    moved = step("name", DNS, *names)
    steps[2] = step("sts", DNS, txt("one"), txt("two"), (OBJECT, "policy"), (DNS, "name"))
    domain = judged([*steps[:2], moved, *steps[2:]])
    assert (Grade.UNSAFE, ["old-host-still-found"]) == (domain.grade, rules(domain))


def test_many_mx_hosts_at_once_are_judged_too() -> None:
    """More orders than can be looked through one by one."""
    old, new = ([f"{side}{number}.example.com" for number in range(8)] for side in "ab")
    domain = judged(usual(policy(*old), policy(*new), ids=("one", "two"), hosts=(tuple(old), tuple(new))))
    assert (Grade.UNSAFE, "mx-not-in-held-policy") == (domain.grade, rules(domain)[0])


def test_one_domain_in_two_stacks_is_judged_as_one() -> None:
    """Nothing orders two stacks: the record may come before the file."""
    steps = usual(new=policy(MX1, max_age=DAY), ids=("one", "two"))
    other = document(steps[2:]).replace(b":test::", b":dns::")
    (domain,) = review([plan(steps[:2]), read_plan("dns", other)]).domains
    assert ("test", "dns") == domain.stacks
    assert (Grade.UNSAFE, ["id-before-policy"]) == (domain.grade, rules(domain))


# What can't be seen is never safe.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda steps: steps.pop(0), "policy host is not in the plan"),
        (lambda steps: steps.pop(1), "policy file is not in the plan"),
        (lambda steps: steps.pop(2), "`_mta-sts` record is not in the plan"),
        (lambda steps: steps[2]["newState"]["inputs"].update(content=UNKNOWN), "only known once the update runs"),
        (lambda steps: steps[2]["newState"]["inputs"].update(content="[secret]"), "is secret"),
        (lambda steps: steps[1]["newState"]["inputs"].update(content=UNKNOWN), "only known once the update runs"),
        (lambda steps: steps[1]["newState"]["inputs"].pop("content"), "not in the program"),
        (
            lambda steps: steps[0]["newState"]["inputs"]["defaultCacheBehavior"].update(cachePolicyId="made-elsewhere"),
            "is made elsewhere",
        ),
    ],
)
def test_what_the_plan_does_not_show_is_unknown(change: Any, said: str) -> None:
    """Each with the reason."""
    steps = usual(new=policy(MX1, max_age=DAY), ids=("one", "two"))
    change(steps)
    if said == "is made elsewhere":
        steps[0]["oldState"] = steps[0]["newState"]
    domain = judged(steps)
    assert Grade.UNKNOWN is domain.grade
    assert said in domain.reasons[0].text


def test_mx_records_elsewhere_are_an_assumption_as_long_as_the_policy_asks_no_more() -> None:
    """Widened or kept: judged. Narrowed, or enforced for the first time: could not tell."""
    for new, grade in (
        (policy(MX1, MX2), Grade.SAFE),
        (policy(MX2), Grade.UNKNOWN),
        (policy(MX1, mode="testing"), Grade.SAFE),
    ):
        domain = judged(usual(new=new, ids=("one", "two"))[:3])
        assert grade is domain.grade, domain.headline
        assert bool(domain.assumptions) == (grade is Grade.SAFE)
    assert Grade.UNKNOWN is judged(usual(policy(MX1, mode="testing"), policy(MX1), ids=("one", "two"))[:3]).grade


def test_a_plan_without_what_stays_the_same_is_unknown_with_the_command() -> None:
    """However harmless the rest looks."""
    steps = [each for each in usual(new=policy(MX1, max_age=DAY), ids=("one", "two")) if each["op"] != "same"]
    domain = judged(steps, changeSummary={"same": 2, "update": 2})
    assert (Grade.UNKNOWN, ["plan-incomplete"]) == (domain.grade, rules(domain))
    assert "--show-sames" in domain.way_out[0].text
    comment = [step("sts", DNS, txt("one"), txt("one") | {"comment": "x"})]
    unchanged = judged(comment, changeSummary={"same": 2, "update": 1})
    assert (Grade.UNKNOWN, False) == (unchanged.grade, unchanged.changes)


def test_mx_records_alone_tell_nothing_of_mta_sts() -> None:
    """Another stack may publish a policy for the domain."""
    domain = judged(usual(hosts=((MX1,), (MX2,)))[3:])
    assert (Grade.UNKNOWN, ["not-in-plan"]) == (domain.grade, rules(domain))


def test_a_failed_preview_is_unknown_for_every_domain() -> None:
    """Also for those that would not change."""
    found = review([plan(usual(), diagnostics=[{"severity": "error", "message": "error: no such bucket"}])])
    assert (Grade.UNKNOWN, Grade.UNKNOWN) == (found.grade, found.domains[0].grade)
    assert ["The preview of test failed: no such bucket"] == found.problems


def test_a_stream_of_events_does_not_tell_the_order() -> None:
    """What would be harmful in some order is unknown; what is safe in every order is safe."""

    def streamed(steps: list[dict[str, Any]]) -> DomainReview:
        events: list[dict[str, Any]] = [
            {"resourcePreEvent": {"metadata": {"op": one["op"], "urn": one["urn"], **_states(one)}}} for one in steps
        ]
        events.append({"summaryEvent": {"resourceChanges": {"same": 2}, "isPreview": True, "result": "succeeded"}})
        lines = [json.dumps({"sequence": number, "timestamp": 1} | event) for number, event in enumerate(events)]
        (domain,) = review([read_plan("stream", "\n".join(lines).encode())]).domains
        return domain

    def _states(one: dict[str, Any]) -> dict[str, Any]:
        pairs = (("old", one.get("oldState")), ("new", one.get("newState")))
        return {key: {k: v for k, v in (state or {}).items() if k != "dependencies"} or None for key, state in pairs}

    changed = streamed(usual(new=policy(MX1, max_age=DAY), ids=("one", "two")))
    assert (Grade.UNKNOWN, ["order-unknown"]) == (changed.grade, rules(changed))
    assert Grade.SAFE is streamed(usual(ids=("one", "two"))).grade


def test_several_texts_at_the_record_are_no_record() -> None:
    """RFC 8461 §3.1: not exactly one means none."""
    domain = judged([*usual(), step("again", DNS, None, txt("two"))])
    assert (Grade.UNSAFE, "sts-record-invalid") == (domain.grade, rules(domain)[0])


def test_mx_records_that_swap_their_hosts_change_nothing() -> None:
    """By index, as a loop over a list does."""
    swapped = [step("mx-0", DNS, mx(MX1), mx(MX2)), step("mx-1", DNS, mx(MX2), mx(MX1))]
    domain = judged([*usual(policy(MX1, MX2))[:3], *swapped])
    assert Grade.SAFE is domain.grade


FUNCTION = "aws:cloudfront/function:Function"
AZURE = "azure-native:network:RecordSet"


@pytest.mark.parametrize(
    ("steps", "grade"),
    [
        # A record at a provider that is not read, for this domain and for another.
        ([*usual(), step("elsewhere", AZURE, {"zoneName": DOMAIN}, {"zoneName": DOMAIN, "ttl": 5})], Grade.UNKNOWN),
        ([*usual(), step("elsewhere", AZURE, {"zoneName": "other.test"}, {"zoneName": "b.test"})], Grade.SAFE),
        # What may serve the policy, with and without a file that does.
        ([usual()[0], *usual()[2:], step("code", FUNCTION, {"code": "1"}, {"code": "2"})], Grade.UNKNOWN),
        ([*usual(), step("code", FUNCTION, {"code": "1"}, {"code": "2"})], Grade.SAFE),
        (
            [usual()[0], *usual()[2:], step("file", OBJECT, {"key": UNKNOWN}, {"key": UNKNOWN}, op="update")],
            Grade.UNKNOWN,
        ),
        ([usual()[0], *usual()[2:], step("file", OBJECT, {"key": "a.css"}, {"key": "a.css", "x": 1})], Grade.SAFE),
        # A name that is known before and not after.
        ([*usual()[:3], step("mx", DNS, mx(MX1), mx(MX1) | {"name": UNKNOWN})], Grade.UNKNOWN),
        ([usual()[0], step("policy", OBJECT, policy(MX1), policy(MX1, key=UNKNOWN)), *usual()[2:]], Grade.UNKNOWN),
    ],
    ids=["record", "other record", "code", "code beside a file", "file", "other file", "mx name", "key"],
)
def test_what_may_be_the_domains_and_is_not_read_is_not_safe(steps: list[dict[str, Any]], grade: Grade) -> None:
    """And what can't be is left alone."""
    (domain,) = (one for one in review([plan(steps)]).domains if one.domain == DOMAIN)
    assert grade is domain.grade, domain.headline


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_replaced_is_gone_for_a_moment(place: int) -> None:
    """And an update that stops there leaves it so."""
    steps = usual()
    steps[place] |= {"op": "replace"}
    domain = judged(steps)
    assert (Grade.UNSAFE, "removed-while-held") == (domain.grade, rules(domain)[0])


# What serves a policy may break without its text changing.

BUCKET_POLICY = "aws:s3/bucketPolicy:BucketPolicy"
CERTIFICATE = "aws:acm/certificate:Certificate"
HOST = "mta-sts:index:PolicyHost$"


def host_name(target: str, **more: Any) -> dict[str, Any]:
    """Return the inputs of the policy host's name."""
    return {"name": f"mta-sts.{DOMAIN}", "type": "CNAME", "ttl": 300, "content": target, **more}


def with_edge(old: dict[str, Any], new: dict[str, Any], parents: str = "") -> list[dict[str, Any]]:
    """Return the usual program whose distribution changes."""
    return [step("edge", DISTRIBUTION, edge() | old, edge() | new, parents=parents), *usual()[1:]]


def with_file(new: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the usual program whose policy file is given out in another way."""
    return [usual()[0], step("policy", OBJECT, policy(MX1), policy(MX1) | new), *usual()[2:]]


def with_name(old: dict[str, Any], new: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Return the usual program with the policy host's name, which changes."""
    return [*usual(), step("name", DNS, old, new, **more)]


@pytest.mark.parametrize(
    "steps",
    [
        with_edge({"enabled": True}, {"enabled": False}),
        with_edge({}, {"viewerCertificate": {"cloudfrontDefaultCertificate": True}}),
        with_edge({}, {"restrictions": {"geoRestriction": {"restrictionType": "whitelist", "locations": ["US"]}}}),
        with_edge({"enabled": True}, {"enabled": False}, parents=HOST),
        with_file({"contentType": "application/octet-stream"}),
        with_file({"contentType": ""}),
        with_file({"websiteRedirect": "https://example.net/"}),
        with_file({"contentEncoding": "gzip"}),
        with_name(host_name("d1.cloudfront.net"), host_name("d1.cloudfront.net", proxied=True)),
    ],
    ids=[
        "disabled",
        "certificate",
        "countries",
        "disabled component",
        "type",
        "no type",
        "redirect",
        "gzip",
        "proxied",
    ],
)
def test_a_policy_host_that_breaks_is_unsafe(steps: list[dict[str, Any]]) -> None:
    """Senders that hold the policy can't renew it, and no other sender gets it."""
    domain = judged(steps)
    assert (Grade.UNSAFE, "policy-host-broken") == (domain.grade, rules(domain)[0])


def test_what_was_broken_and_stays_so_is_no_news() -> None:
    """Nor is what is mended."""
    broken = {"contentType": "application/octet-stream"}
    for new in (broken | {"content": body(MX1, max_age=DAY)}, policy(MX1, max_age=DAY)):
        file = step("policy", OBJECT, policy(MX1) | broken, policy(MX1) | new)
        assert Grade.SAFE is judged([usual()[0], file, *usual(ids=("one", "two"))[2:]]).grade


ATTACHED = {
    "functionAssociations": [{"eventType": "viewer-request", "functionArn": "arn:aws:cloudfront::1:function/f"}]
}
CODE = ({"name": "f", "code": "return r"}, {"name": "f", "code": "return {statusCode: 301}"})


@pytest.mark.parametrize(
    ("steps", "rule"),
    [
        (with_edge({}, {"origins": [{"domainName": "b.s3.amazonaws.com", "originId": "s3"}]}), "policy-host-changes"),
        (with_edge({}, edge(**ATTACHED)), "policy-host-changes"),
        (with_edge({}, edge(trustedKeyGroups=["k"])), "policy-host-changes"),
        (with_edge({}, {"customErrorResponses": [{"errorCode": 403}]}), "policy-host-changes"),
        ([*with_edge(edge(**ATTACHED), edge(**ATTACHED)), step("f", FUNCTION, *CODE)], "not-read"),
        ([*usual(), step("p", BUCKET_POLICY, {"bucket": "policies", "policy": "x"}, None)], "not-read"),
        ([*usual(), step("b", "aws:s3/bucket:Bucket", {"bucket": "policies", "forceDestroy": True}, None)], "not-read"),
        ([*usual(), step("c", CERTIFICATE, {"domainName": f"mta-sts.{DOMAIN}"}, None)], "not-read"),
        ([*usual(), step("c", CERTIFICATE, {"subjectAlternativeNames": [f"*.{DOMAIN}"]}, None)], "not-read"),
        (with_file({"bucket": "another"}), "policy-host-changes"),
        (with_file({"key": f"v2/{DOMAIN}/.well-known/mta-sts.txt"}), "policy-host-changes"),
        (with_name(host_name("d1.cloudfront.net"), host_name("mta-sts.vendor.example")), "not-in-plan"),
        ([*usual(), step("name", DNS, None, host_name("mta-sts.vendor.example"))], "not-in-plan"),
        ([usual()[0], step("policy", OBJECT, None, policy(MX1)), *usual()[2:]], "not-in-plan"),
        (
            [
                step("edge", DISTRIBUTION, None, edge()),
                step("policy", OBJECT, None, policy(MX1)),
                step("name", DNS, host_name("vendor.example"), host_name(UNKNOWN), (DISTRIBUTION, "edge")),
                *usual()[2:],
            ],
            "not-in-plan",
        ),
    ],
)
def test_what_may_break_a_policy_host_could_not_be_told(steps: list[dict[str, Any]], rule: str) -> None:
    """Nobody sees from a plan whether it serves afterwards; where harm is found, that counts."""
    domain = judged(steps)
    assert (Grade.UNKNOWN, rule) == (domain.grade, rules(domain)[0]), domain.headline


@pytest.mark.parametrize(
    "steps",
    [
        with_edge({}, {"tags": {"owner": "mail"}, "comment": "x", "aliases": [f"mta-sts.{DOMAIN}", "a.example"]}),
        [*usual(), step("v", "aws:s3/bucketVersioning:BucketVersioning", {"bucket": "policies"}, None)],
        [*usual(), step("p", BUCKET_POLICY, {"bucket": "policies"}, {"bucket": "policies", "tags": {"a": "b"}})],
        [*usual(), step("p", BUCKET_POLICY, {"bucket": "another"}, None)],
        [*usual(), step("f", FUNCTION, *CODE)],
        [*usual(), step("c", CERTIFICATE, {"domainName": f"www.{DOMAIN}"}, None)],
        with_name(host_name("d1.cloudfront.net"), host_name("d1.cloudfront.net", ttl=60)),
        with_edge({}, edge(**ATTACHED), parents=HOST),
        with_edge({}, {"viewerCertificate": {"acmCertificateArn": UNKNOWN}}, parents=HOST),
        [*usual(), step("c", CERTIFICATE, {"domainName": f"mta-sts.{DOMAIN}"}, {}, op="replace", parents=HOST)],
        [*usual(), step("f", FUNCTION, CODE[0], None, parents=HOST)],
    ],
)
def test_what_breaks_no_policy_host_is_no_noise(steps: list[dict[str, Any]]) -> None:
    """Settings that no sender meets; resources of others; our component, which has its own way to grow."""
    domain = judged(steps)
    assert Grade.SAFE is domain.grade, domain.headline


def test_a_bucket_policy_of_our_component_that_goes_is_not_its_usual_way() -> None:
    """Nothing can be read from the bucket then, unless the whole host goes."""
    gone = step("p", BUCKET_POLICY, {"bucket": "policies", "policy": "x"}, None, parents=HOST)
    assert Grade.UNKNOWN is judged([*usual(), gone]).grade


def test_a_name_that_leads_to_the_plans_own_policy_host_is_followed() -> None:
    """By what it depends on, and by the name that the provider gave the distribution."""
    served = step("edge", DISTRIBUTION, edge(), edge(), outputs={"domainName": "D1.cloudfront.net"})
    for target, *after in (("d1.cloudfront.net",), (UNKNOWN, (DISTRIBUTION, "edge"))):
        steps = [served, *usual()[1:], step("name", DNS, None, host_name(target), *after)]
        assert Grade.SAFE is judged(steps).grade


def test_an_address_that_moves_between_two_records_counts_as_moved() -> None:
    """One is deleted at the end, another made before: the former host is found at least as long."""
    steps = usual(new=policy(MX1, max_age=DAY), ids=("one", "two"))
    steps[2] = step("sts", DNS, txt("one"), txt("two"), (OBJECT, "policy"), (DNS, "new"))
    addresses = [host_name(address, type="A") for address in ("192.0.2.1", "192.0.2.2")]
    steps += [step("new", DNS, None, addresses[1]), step("old", DNS, addresses[0], None)]
    domain = judged(steps)
    assert (Grade.UNSAFE, ["old-host-still-found"]) == (domain.grade, rules(domain))


def at_route_53(kind: str, name: str, *values: str) -> dict[str, Any]:
    """Return the inputs of records of one name and type."""
    return {"name": name, "type": kind, "ttl": 300, "records": [*values], "zoneId": "Z1"}


RRSETS = (at_route_53("MX", DOMAIN, f"10 {MX1}."), at_route_53("TXT", f"_mta-sts.{DOMAIN}", "v=STSv1; id=one;"))


@pytest.mark.parametrize(
    ("kind", "inputs", "others"),
    [
        (OBJECT, policy(MX1), [*usual()[:1], *usual()[2:]]),
        (DISTRIBUTION, edge(), usual()[1:]),
        (ROUTE53, RRSETS[0], usual()[:3]),
        (ROUTE53, RRSETS[1], [*usual()[:2], *usual()[3:]]),
        (DNS, mx(MX1), usual()[:3]),
        (DNS, host_name("d1.cloudfront.net"), usual()),
    ],
    ids=["file", "distribution", "mx rrset", "txt rrset", "mx", "cname"],
)
def test_a_resource_that_is_renamed_takes_away_what_it_has_just_written(
    kind: str, inputs: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    """Made under its new name, deleted under the old one: in the cloud both are one thing."""
    domain = judged([*others, step("new", kind, None, inputs), step("old", kind, inputs, None)])
    assert Grade.UNSAFE is domain.grade
    assert "renamed-without-alias" in rules(domain)
    kept = step("old", kind, inputs, None, retainOnDelete=True)
    assert "renamed-without-alias" not in rules(judged([*others, step("new", kind, None, inputs), kept]))


def test_mx_records_that_say_their_host_in_another_way_are_not_one_thing() -> None:
    """Cloudflare's older `value`, and `data`."""
    old = [{"name": DOMAIN, "type": "MX", "data": {"target": host}} for host in (MX1, MX2)]
    steps = [*usual(policy(MX1, MX2))[:3], step("a", DNS, old[0], old[0]), step("b", DNS, old[1], None)]
    assert Grade.SAFE is judged(steps).grade


def test_an_mx_record_that_is_replaced_is_gone_for_a_moment() -> None:
    """Unless another record names the same host."""
    steps = usual()
    steps[3] |= {"op": "replace"}
    assert (Grade.UNSAFE, ["no-mx-left"]) == (judged(steps).grade, rules(judged(steps)))
    second = step("mx", ROUTE53, RRSETS[0], RRSETS[0])
    assert Grade.SAFE is judged([*steps, second]).grade


def test_a_cache_policy_that_is_lowered_in_the_same_plan_counts_as_it_was() -> None:
    """The edge keeps for a day what it fetched before."""
    times = [{"minTtl": 0, "defaultTtl": seconds, "maxTtl": seconds} for seconds in (DAY, 0)]
    lowered = step("cache", "aws:cloudfront/cachePolicy:CachePolicy", *times, id="own")
    domain = judged([*usual(new=policy(MX1, max_age=DAY), ids=("one", "two"), cache="own"), lowered])
    assert (Grade.UNSAFE, ["edge-caches-policy"]) == (domain.grade, rules(domain))


def alias(target: str) -> dict[str, Any]:
    """Return the inputs of a record that leads to whoever publishes for the domain."""
    return {"name": f"_mta-sts.{DOMAIN}", "type": "CNAME", "ttl": 300, "content": target}


@pytest.mark.parametrize(
    "states", [(alias("a.example"), None), (alias("a.example"), alias("b.example")), (None, alias("b.example"))]
)
def test_a_record_that_another_one_publishes_is_not_seen(states: tuple[Any, Any]) -> None:
    """`_mta-sts` as a CNAME: what it leads to is not in the plan."""
    domain = judged([*usual()[:2], step("sts", DNS, *states), *usual()[3:]])
    assert (Grade.UNKNOWN, ["not-in-plan"]) == (domain.grade, rules(domain))
    same = step("sts", DNS, alias("a.example"), alias("a.example") | {"comment": "x"})
    assert Grade.SAFE is judged([*usual()[:2], same, *usual()[3:]]).grade


def test_a_distribution_for_every_name_serves_the_domain_that_publishes() -> None:
    """`*.example.com` answers for `mta-sts.example.com`; alone it is about no mail."""
    wild = edge() | {"aliases": [f"*.{DOMAIN}"]}
    domain = judged([step("edge", DISTRIBUTION, wild, None), *usual()[1:]])
    assert (Grade.UNSAFE, "removed-while-held") == (domain.grade, rules(domain)[0])
    alone = review([plan([step("edge", DISTRIBUTION, wild, None)])])
    assert (Grade.SAFE, []) == (alone.grade, alone.domains)


def test_the_components_waits_are_for_its_own_records() -> None:
    """An MX record that somebody else makes beside it waits for nothing."""
    ours = "mta-sts:index:MtaSts$"
    steps = usual(new=policy(MX1, MX2), ids=("one", "two"), hosts=((MX1,), (MX1, MX2)))
    steps[1] = step("policy", OBJECT, policy(MX1), policy(MX1, MX2), parents=ours)
    steps[2] = step("sts", DNS, txt("one"), txt("two"), parents=ours)
    assert (Grade.DEGRADED, ["host-skipped"]) == (judged(steps).grade, rules(judged(steps)))
    steps[-1] = step("mx-2", DNS, None, mx(MX2), parents=ours)
    assert Grade.SAFE is judged(steps).grade


def test_what_the_provider_said_of_a_name_before_holds_afterwards() -> None:
    """A relative name in a zone that only has an id: the old state's outputs tell it."""
    relative = {"name": "_mta-sts", "type": "TXT", "content": '"v=STSv1; id=one;"', "zoneId": "z1"}
    record = step("sts", DNS, relative, relative | {"comment": "x"})
    record["oldState"]["outputs"] = {"hostname": f"_mta-sts.{DOMAIN}"}
    domain = judged([*usual()[:2], record, *usual()[3:]])
    assert (Grade.SAFE, "one") == (domain.grade, domain.after.id)


# Alone in a plan that shows nothing else of mail.


@pytest.mark.parametrize(
    ("steps", "grade"),
    [
        ([step("t", "gcp:dns/recordSet:RecordSet", {"name": "_mta-sts.a.example.", "type": "TXT"}, None)], "unknown"),
        ([step("t", "gcp:dns/recordSet:RecordSet", {"name": "a.example.", "type": "MX"}, None)], "unknown"),
        ([step("t", "gcp:dns/recordSet:RecordSet", {"name": "www.a.example.", "type": "A"}, None)], "safe"),
        ([step("t", "aws:cfg/recorder:Recorder", {"name": "default"}, None)], "safe"),
        ([step("t", "aws-native:route53:RecordSetGroup", {"recordSets": [{"type": "MX"}]}, None)], "unknown"),
        ([step("t", DNS, mx(MX1) | {"name": UNKNOWN}, mx(MX2) | {"name": UNKNOWN})], "unknown"),
        ([step("t", DNS, mx(MX1) | {"name": "[secret]"}, mx(MX2) | {"name": "[secret]"})], "unknown"),
        ([step("t", DNS, mx(MX1) | {"type": UNKNOWN}, mx(MX2) | {"type": UNKNOWN})], "unknown"),
        ([step("t", DNS, *[host_name("a.example") | {"name": "[secret]"}] * 2, op="update")], "unknown"),
        ([step("t", DNS, None, host_name("a.example") | {"name": UNKNOWN})], "safe"),
        ([step("z", "cloudflare:index/zone:Zone", {"name": DOMAIN}, None)], "unknown"),
        ([step("z", "cloudflare:index/zone:Zone", {"name": DOMAIN}, {"name": DOMAIN, "plan": "pro"})], "safe"),
        ([step("n", DNS, None, {"name": f"dev.{DOMAIN}", "type": "NS", "content": "ns.example"})], "safe"),
        ([step("m", "kubernetes:core/v1:ConfigMap", {"data": {"f": body(MX1)}}, {"data": {}})], "unknown"),
        ([step("m", "kubernetes:core/v1:ConfigMap", {"data": {"f": "a"}}, {"data": {}})], "safe"),
        ([step("f", OBJECT, policy(MX1, key=UNKNOWN), policy(MX2, key=UNKNOWN))], "unknown"),
        ([step("f", OBJECT, *[policy(host, key=".well-known/mta-sts.txt") for host in (MX1, MX2)])], "unknown"),
        ([step("f", FUNCTION, *CODE)], "safe"),
        ([step("c", CERTIFICATE, None, {"domainName": f"mta-sts.{DOMAIN}"})], "safe"),
        ([step("c", CERTIFICATE, {"domainName": f"mta-sts.{DOMAIN}"}, None)], "unknown"),
        ([*usual(), step("c", CERTIFICATE, None, {"domainName": f"mta-sts.{DOMAIN}"})], "safe"),
        ([*usual(), step("a", "aws:ses/alarm:Alarm", {"name": f"mta-sts.{DOMAIN}"}, {"name": "x"})], "safe"),
    ],
)
def test_what_may_be_somebodys_is_not_safe_and_nothing_else_is_noise(steps: list[dict[str, Any]], grade: str) -> None:
    """The plan names no domain, so the whole review says it."""
    found = review([plan(steps)])
    assert grade == found.grade
    assert bool(found.unseen) == (grade == "unknown")
    assert not found.unseen or found.unseen[0].split(":")[0] in to_text(found, datetime(2026, 7, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("example.com", True),
        ("https://mta-sts.example.com/x", True),
        ("arn:aws:s3:::policies-example.com-logs", True),
        ("_mta-sts.example.com.", True),
        ("*.example.com", True),
        ("myexample.com", False),
        ("example.community", False),
        ("example", False),
    ],
)
def test_a_name_is_found_in_a_text(text: str, *, found: bool) -> None:
    """As a host, in an address, between hyphens; not as a part of another name."""
    change = step("x", "azure-native:web:WebAppFunction", {"a": [text]}, {"a": []})
    assert (Grade.UNKNOWN if found else Grade.SAFE) is judged([*usual(), change]).grade


def test_each_change_is_asked_about_few_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of many domains, each with what it stands on: not every change about every domain."""
    asked: list[str] = []
    real = Unread.may_be_of
    monkeypatch.setattr(Unread, "may_be_of", lambda self, domain: asked.append(domain.name) or real(self, domain))
    steps = [*usual(), step("p", BUCKET_POLICY, {"bucket": "policies", "policy": "x"}, None)]
    text = json.dumps(steps)
    all_of_them = [
        each
        for number in range(30)
        for each in json.loads(
            re.sub(r'(::[a-z0-9.-]+)"', rf'\1-{number}"', text)
            .replace("example.com", f"d{number}.example")
            .replace("policies", f"policies-{number}")
        )
    ]
    found = review([plan(all_of_them)])
    assert 30 == sum(rules(domain) == ["not-read"] for domain in found.domains)
    assert len(asked) <= 60


@pytest.mark.parametrize(
    "steps",
    [
        [*usual(), step("z", "cloudflare:index/zone:Zone", {"name": DOMAIN}, None)],
        [*usual(), step("n", DNS, None, {"name": DOMAIN, "type": "NS", "content": "ns.example"})],
        [*usual(), step("n", DNS, None, {"name": f"mta-sts.{DOMAIN}", "type": "NS", "content": "ns.example"})],
        [
            *usual()[2:],
            step("m", "kubernetes:core/v1:ConfigMap", {"data": {"f": body(MX1)}}, {"data": {"f": body(MX2)}}),
        ],
        [
            *usual()[1:],
            step("t", "aws:cloudfront/distributionTenant:DistributionTenant", {"d": f"mta-sts.{DOMAIN}"}, None),
        ],
        [*usual()[2:], step("l", "aws:lb/listenerRule:ListenerRule", {"hostHeader": f"mta-sts.{DOMAIN}"}, None)],
        [usual()[0], *usual()[2:], step("f", OBJECT, *[policy(host, key="a.txt") for host in (MX1, MX2)])],
        [step("edge", DISTRIBUTION, edge(), edge() | {"aliases": [UNKNOWN]}), *usual()[1:]],
        [step("edge", DISTRIBUTION, edge() | {"aliases": ["[secret]"]}, None), *usual()[1:]],
    ],
    ids=["zone", "delegation", "delegated host", "config map", "tenant", "rule", "file", "alias", "secret alias"],
)
def test_a_change_that_nothing_here_explains_is_not_safe(steps: list[dict[str, Any]]) -> None:
    """It names what the domain stands on."""
    assert Grade.UNKNOWN is judged(steps).grade


BROKEN = (None, True, 0, -1, 1e300, "", "\x00", "[secret]", UNKNOWN, "é" * 70, [], [None], {}, {"a": None})
WHOLE = [
    *usual(new=policy(MX1, MX2, max_age=DAY), ids=("one", "two"), hosts=((MX1,), (MX1, MX2))),
    step("name", DNS, {"name": f"mta-sts.{DOMAIN}", "type": "CNAME", "content": "a.example", "ttl": 60}, None),
    step("mx-53", ROUTE53, None, {"name": DOMAIN, "type": "MX", "records": [f"10 {MX3}"], "zoneId": "Z", "ttl": 60}),
    step("own", DNS, txt("one"), txt("two"), parents="mta-sts:index:MtaSts$"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value in a document."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in pairs for place in places(each, (*path, key)))]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(BROKEN)), min_size=1, max_size=3))
def test_whatever_stands_in_a_plan_it_is_read_or_refused(changes: list[tuple[int, Any]]) -> None:
    """Any value of any type at any place: a verdict that every form can show, or PlanError."""
    given_plan = json.loads(document(WHOLE))
    for number, value in changes:
        known = places(given_plan)[1:]
        *way, last = known[number % len(known)]
        at = given_plan
        for key in way:
            at = at[key]
        at[last] = deepcopy(value)
    try:
        found = review([read_plan("plan", json.dumps(given_plan).encode())])
    except PlanError:
        return
    now = datetime(2026, 7, 1, tzinfo=UTC)
    for write in (to_json, to_markdown, to_text):
        assert str(found.grade) in write(found, now).lower() or found.grade is Grade.UNKNOWN


@pytest.mark.parametrize("bucket", [[None], [], {"a": None}])
def test_a_bucket_that_is_no_name_is_nobodys(bucket: Any) -> None:
    """Neither that of a policy object, nor that of what may uphold it: each is judged as without it."""
    steps = [*usual(new=policy(MX1) | {"bucket": bucket}), step("p", BUCKET_POLICY, {"bucket": bucket}, None)]
    assert "not-read" not in rules(judged(steps))


def test_a_change_and_a_deletion_of_one_thing_are_judged_in_their_order() -> None:
    """The file changes, and the name of its host goes at the end."""
    domain = judged(WHOLE[:-1])
    assert "removed-while-held" in rules(domain)
    assert "not-judged" not in rules(domain)


def test_our_component_needs_no_dependencies_in_the_plan() -> None:
    """It holds its steps up itself: also where the plan does not tell what waits for what."""
    text = re.sub(r'"dependencies":\[[^]]*\],', "", (PLANS / f"{COMPONENT}.json").read_text(encoding="utf-8"))
    assert Grade.SAFE is review([read_plan("plan", text.encode())]).grade


def test_what_depends_on_a_resource_is_deleted_before_it() -> None:
    """The engine's order, backwards; and every deletion comes after everything else."""
    steps = [
        step("sts", DNS, txt("one"), None, (OBJECT, "policy")),
        step("policy", OBJECT, policy(MX1), None),
        step("mx", DNS, None, mx(MX1)),
    ]
    (domain,), _ = find_domains([plan(steps)])
    (file,), (record,), (host,) = (domain.of(role) for role in (Role.OBJECT, Role.RECORD, Role.MX))
    assert domain.order is not None
    assert [(True, False), (True, False)] == [
        (domain.order.comes_before(one, other), domain.order.comes_before(other, one))
        for one, other in ((record, file), (host, file))
    ]


def test_every_rule_is_documented() -> None:
    """The page's table and the code name the same."""
    source = "".join(
        (ROOT / "src" / "mta_sts" / "review" / name).read_text(encoding="utf-8")
        for name in ("verdict.py", "reasons.py", "doubts.py", "remarks.py")
    )
    page = (ROOT / "docs" / "review.md").read_text(encoding="utf-8")
    rows = re.findall(r'^\| <a id="([^"]+)"></a>`([a-z][a-z-]+)` \|', page, flags=re.MULTILINE)
    documented = {rule for anchor, rule in rows if anchor == rule}
    named = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source))
    assert named == documented


def test_the_recorded_plans_are_of_no_machine() -> None:
    """No path, and nothing but the sandbox's own names."""
    for file in PLANS.glob("*.json"):
        assert not re.search(r"/(?:home|root|tmp|work|Users)/", file.read_text(encoding="utf-8")), file.name


def inputs_of(given_plan: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the way to each input of each resource."""
    return [place for place in places(given_plan) if len(place) > 4 and place[3] == "inputs"]


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("value", [UNKNOWN, "[secret]"])
def test_hiding_a_value_never_makes_an_unsafe_plan_safe(name: str, value: str) -> None:
    """Any one input of any resource, in the real plans."""
    text = (PLANS / f"{name}.json").read_text(encoding="utf-8")
    for way in inputs_of(json.loads(text)):
        given_plan = json.loads(text)
        at: Any = given_plan
        for key in way[:-1]:
            at = at[key]
        at[way[-1]] = value
        found = review([read_plan(name, json.dumps(given_plan).encode())])
        assert found.grade in (Grade.UNSAFE, Grade.UNKNOWN), way
