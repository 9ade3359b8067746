"""A world and a stack of one's own for each test that asks."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pulumi.runtime.config import set_all_config
from pulumi_mta_sts.outside import outside, use

from sandbox import deployment
from sandbox.deployment import Deployment
from sandbox.world.client import World
from sandbox.world.internet import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCOUNT = "111111111111"
REASON = "tested in the sandbox"


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    """Put environment, outside and Pulumi's settings back: a deployment replaces them for the whole process."""
    before, looked_at = dict(os.environ), outside()
    yield
    os.environ.clear()
    os.environ.update(before)
    use(looked_at)
    set_all_config({})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a world as long as the test."""
    with World(tmp_path / "sandbox") as running:
        yield running


@pytest.fixture
def sparing(world: World, request: pytest.FixtureRequest) -> Iterator[Callable[[], dict[str, str]]]:
    """Return a function that gives an engine's variables: providers that stand through the test, one state at the end.

    In a test that is marked `as_for_a_person` engines start their own, and write their state around each step.
    """
    as_for_a_person = request.node.get_closest_marker("as_for_a_person")
    with contextlib.ExitStack() as ending:
        yield cache(lambda: {} if as_for_a_person else ending.enter_context(deployment.sparing(world)))


@pytest.fixture
def deploy(world: World, tmp_path: Path, sparing: Callable[[], dict[str, str]]) -> Callable[..., Deployment]:
    """Return a function that declares domains and gives the deployment of the repository's own program."""

    def declare(*domains: dict[str, Any], accounts: str = ACCOUNT, **settings: Any) -> Deployment:
        config = {
            "aws:region": "eu-west-1",
            "aws:allowedAccountIds": [accounts],
            "mta-sts:domains": list(domains),
            **{f"mta-sts:{key}": value for key, value in settings.items()},
        }
        file = tmp_path / "Pulumi.sandbox.yaml"
        file.write_text(yaml.safe_dump({"config": config}, allow_unicode=True), encoding="utf-8")
        return Deployment(world, config=file, environment=sparing())

    return declare


class Cloudflare:
    """The zones of a world, changed by hand as another team would."""

    def __init__(self, world: World) -> None:
        self._url = world.endpoints.cloudflare

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the API and return the result."""
        request = urllib.request.Request(  # noqa: S310  our own loopback address
            f"{self._url}{path}",
            json.dumps(body).encode() if body else None,
            {"Authorization": f"Bearer {TOKEN}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.load(answer)["result"]

    def zone(self, name: str) -> str:
        """Return a zone's id."""
        (zone,) = self.call("GET", f"/zones?name={name}")
        return zone["id"]

    def add(self, zone: str, kind: str, name: str, content: str, **more: Any) -> str:
        """Add a record and return its id."""
        body = {"type": kind, "name": name, "content": content, "ttl": 300, **more}
        return self.call("POST", f"/zones/{self.zone(zone)}/dns_records", body)["id"]

    def records(self, zone: str, name: str) -> list[dict[str, Any]]:
        """Return the records at a name."""
        return self.call("GET", f"/zones/{self.zone(zone)}/dns_records?name.exact={name}")


@pytest.fixture
def cloudflare(world: World) -> Cloudflare:
    """Return the world's zones, to be changed by hand."""
    return Cloudflare(world)
