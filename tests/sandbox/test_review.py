"""Plans of the real engine, reviewed: usual styles are unsafe, our component is safe, and `--live` knows the past."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from mta_sts.review.live import look_at
from mta_sts.review.plan import read_plan
from mta_sts.review.verdict import Grade, Review, review
from sandbox.check import network_of
from sandbox.deployment import Deployment
from sandbox.review import declared, record_ours, record_usual
from sandbox.usual_styles import DAY, STYLES, Style, Wanted
from tests.sandbox.conftest import REASON

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

pytestmark = pytest.mark.engine

MX1, MX3 = "mx1.example.com", "mx3.example.com"


def of(*files: Path, **more: object) -> Review:
    """Review plans that stand in files."""
    return review([read_plan(file.name, file.read_bytes()) for file in files], **more)


def live(world: World, file: Path) -> Review:
    """Review a plan with what is published in the world."""
    now = datetime.fromtimestamp(world.now(), UTC)
    return of(file, look=lambda domains: look_at(domains, network_of(world), now))


def test_a_usual_style_is_unsafe(world: World, tmp_path: Path) -> None:
    """One of the six whose recorded plans the other tests read: the engine still writes them so."""
    style = next(each for each in STYLES if each.name == "mx-in-parallel")
    (file,) = record_usual(world, tmp_path, [style])
    (domain,) = of(file).domains
    assert (Grade.UNSAFE, "mx-not-in-held-policy") == (domain.grade, domain.reasons[0].rule)
    assert ((MX1,), (MX3,)) == (domain.before.mx, domain.after.mx)


def test_our_component_is_safe_in_every_form_of_plan(
    world: World, tmp_path: Path, deploy: Callable[..., Deployment]
) -> None:
    """The document, the stream of events, and with --live; without what stays the same it is unknown."""
    style = next(each for each in STYLES if each.name == "mx-in-parallel")
    file = record_ours(world, tmp_path, [style])
    (domain,) = of(file).domains
    assert (Grade.SAFE, True, (MX1,)) == (domain.grade, domain.ours, domain.retiring)
    assert (
        "without evidence from reports; acknowledged: seen elsewhere" == domain.before.grounds == domain.after.grounds
    )
    deployment = deploy(declared(style, style.after))
    os.environ["PULUMI_ENABLE_STREAMING_JSON_PREVIEW"] = "true"
    stream = tmp_path / "stream.json"
    assert deployment.preview_json(stream).ok
    assert not read_plan("stream", stream.read_bytes()).ordered
    assert Grade.SAFE is of(stream).grade
    del os.environ["PULUMI_ENABLE_STREAMING_JSON_PREVIEW"]
    looked = live(world, file)
    assert Grade.SAFE is looked.grade
    assert not [note for note in looked.domains[0].notes if note.startswith("Not looked at")]
    lines: list[str] = []
    assert deployment.preview(json=True, on_output=lines.append).ok
    short = tmp_path / "short.json"
    short.write_text("\n".join(lines), encoding="utf-8")
    assert Grade.UNKNOWN is of(short).grade


def test_the_past_makes_a_change_unsafe_that_the_plan_alone_can_not_judge(
    world: World, tmp_path: Path, cloudflare: Cloudflare, sparing: Callable[[], dict[str, str]]
) -> None:
    """A policy that lists only the old host was replaced a day ago; senders may hold it for nine days more."""
    only = Wanted("enforce", (MX1,))
    both = replace(only, hosts=(MX1, MX3))
    style = Style("past", only, both, "mx-not-in-held-policy")
    config = tmp_path / "Pulumi.past.yaml"
    config.write_text("config:\n  aws:region: eu-west-1\n", encoding="utf-8")

    def deployment(wanted: Wanted) -> Deployment:
        return Deployment(world, style.program(wanted), stack="past", config=config, environment=sparing())

    for wanted in (only, both):
        assert deployment(wanted).up().ok
        world.advance(DAY)
    file = tmp_path / "plan.json"
    assert deployment(replace(both, hosts=(MX3,), patterns=(MX1, MX3))).preview_json(file).ok
    alone = of(file)
    assert Grade.SAFE is alone.grade, alone.domains[0].headline
    looked = live(world, file).domains[0]
    assert (Grade.UNSAFE, "mx-not-in-held-policy") == (looked.grade, looked.reasons[0].rule)
    assert looked.safe_from is not None
    assert 8 * DAY < looked.safe_from < 10 * DAY
    world.advance(10 * DAY)
    assert Grade.SAFE is live(world, file).grade

    # What was made by hand is named, and counts.
    cloudflare.add("example.com", "MX", style.domain, "mx4.example.com", priority=30)
    notes = live(world, file).domains[0].notes
    assert any(note.startswith("MX mx4.example.com in DNS now and not in the stack") for note in notes)


def test_mx_records_alone_are_judged_with_what_is_published(
    world: World, tmp_path: Path, deploy: Callable[..., Deployment], sparing: Callable[[], dict[str, str]]
) -> None:
    """The policy is another stack's: only --live can tell, and a domain without any is safe."""
    import pulumi_cloudflare  # noqa: PLC0415  heavy

    named = {"mx": [MX1], "mode": "enforce", "acknowledge": REASON, "max_age": 10 * DAY}

    def mail(hosts: dict[str, Sequence[str]]) -> Callable[[], None]:
        def program() -> None:
            zone_id = pulumi_cloudflare.get_zones(name="example.com").results[0].id
            for domain, names in hosts.items():
                for host in names:
                    pulumi_cloudflare.DnsRecord(
                        f"{domain}-{host}", zone_id=zone_id, name=domain, type="MX", content=host, priority=10, ttl=300
                    )

        return program

    def stack(hosts: dict[str, Sequence[str]]) -> Deployment:
        config = tmp_path / "Pulumi.mail.yaml"
        config.write_text("config:\n  aws:region: eu-west-1\n", encoding="utf-8")
        return Deployment(world, mail(hosts), stack="mail", config=config, environment=sparing())

    with_policy, without = "with.example.com", "without.example.com"
    assert stack(dict.fromkeys((with_policy, without), (MX1,))).up().ok
    made = deploy({"domain": with_policy, **named}).up()
    assert made.ok, made.errors
    world.advance(2 * DAY)
    file = tmp_path / "plan.json"
    assert stack(dict.fromkeys((with_policy, without), (MX3,))).preview_json(file).ok
    assert {Grade.UNKNOWN} == {domain.grade for domain in of(file).domains}
    assert {with_policy: Grade.UNSAFE, without: Grade.SAFE} == {
        domain.domain: domain.grade for domain in live(world, file).domains
    }
