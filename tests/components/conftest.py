"""What the component tests share."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.components.mocked import World

with warnings.catch_warnings():
    # Pulumi's SDKs warn, at import, of classes of their own that nobody here uses.
    warnings.simplefilter("ignore", DeprecationWarning)
    import pulumi_mta_sts  # noqa: F401


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a world with one zone, `example.com`, and nothing in it."""
    from tests.components.mocked import World, use_aws  # noqa: PLC0415  after the warnings above

    fresh = World()
    use_aws(fresh, monkeypatch)
    return fresh


@pytest.fixture(autouse=True)
def loop() -> Iterator[None]:
    """Give Pulumi an event loop: it takes the current one, and `asyncio.run` in an earlier test leaves none."""
    fresh = asyncio.new_event_loop()
    asyncio.set_event_loop(fresh)
    yield
    asyncio.set_event_loop(None)
    fresh.close()
