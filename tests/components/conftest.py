"""What the component tests share."""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.components.mocked import World

with warnings.catch_warnings():
    # Pulumi's SDKs warn, at import, of classes of their own that nobody here uses.
    warnings.simplefilter("ignore", DeprecationWarning)
    from pulumi_mta_sts.outside import outside, use

from mta_sts.checks.smtp import Session


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Return a world with one zone, `example.com`, and nothing in it."""
    from tests.components.mocked import World, use_aws  # noqa: PLC0415  after the warnings above

    fresh = World()
    use_aws(fresh, monkeypatch)

    async def start_session(host: str, address: str, *_: object) -> Session:
        return Session(host, address, *fresh.mail_hosts.get(host, ()))

    async def mail_addresses(host: str) -> list[tuple[str, int]]:
        return [("192.0.2.25", 25)] if host not in fresh.mail_hosts or fresh.mail_hosts[host] else []

    async def no_addresses(_: str) -> list[tuple[str, int]]:
        return []

    # A test reaches no mail host; what is made of what they show is in test_preflight.
    monkeypatch.setattr("pulumi_mta_sts.preflight.start_session", start_session)
    before = outside()
    use(replace(before, mail_addresses=mail_addresses, addresses=no_addresses))
    yield fresh
    use(before)


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """Give Pulumi an event loop: it takes the current one, and `asyncio.run` in an earlier test leaves none."""
    fresh = asyncio.new_event_loop()
    asyncio.set_event_loop(fresh)
    yield
    asyncio.set_event_loop(None)
    fresh.close()
