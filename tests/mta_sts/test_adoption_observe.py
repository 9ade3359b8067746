"""Looking at a domain where DNS does not answer: one plain reason, and an end in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import pytest

from mta_sts.adoption import observe as module
from mta_sts.adoption.observe import Observed, observe
from mta_sts.cli import main
from mta_sts.network_options import Network

if TYPE_CHECKING:
    from collections.abc import Callable


class Resolver:
    """Answers every question by one function, which may raise or never return."""

    lifetime = 10.0

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._ask = ask
        self.asked: list[str] = []

    async def resolve(self, name: Any, *_: object, **__: object) -> Any:
        """Ask."""
        self.asked.append(str(name))
        return await self._ask()


async def silent() -> None:
    """Give up, as dnspython does when nothing came back."""
    raise dns.resolver.LifetimeTimeout(timeout=10.0, errors=[])


async def failing() -> None:
    """Find that the server answers, and knows nothing."""
    query = dns.message.make_query("x.example", "TXT")
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.SERVFAIL)
    raise dns.resolver.NoNameservers(request=query, errors=[("127.0.0.1", False, 53, "SERVFAIL", response)])


async def hanging() -> None:
    """Never return."""
    await asyncio.Event().wait()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Resolver]:
    """Return a function that puts such a resolver into the place of every other."""

    def put(how: Callable[[], Any]) -> Resolver:
        resolver = Resolver(how)
        monkeypatch.setattr(Network, "resolver", lambda *_: resolver)
        return resolver

    return put


def seen() -> Observed:
    """Look at a domain."""
    return asyncio.run(observe("example.com", Network()))


def test_a_silent_resolver_costs_the_time_of_one_question(ask: Callable[..., Resolver]) -> None:
    """All is asked at once, and nothing a second time: neither another family nor a CNAME."""
    resolver = ask(silent)
    observed = seen()
    assert (False, "") == (observed.answered, observed.zone)
    assert {"_mta-sts.example.com TXT can't be looked up (no answer)"} == {observed.sts.problem}
    names = [name for name in resolver.asked if name.startswith("mta-sts.example.com")]
    assert 4 == len(names)  # its zone, A, AAAA, CAA


def test_a_failure_is_named_by_its_code(ask: Callable[..., Resolver]) -> None:
    """Not by the library's own text, which is several lines long."""
    ask(failing)
    observed = seen()
    assert observed.answered
    assert "example.com MX can't be looked up (SERVFAIL)" == observed.mx.problem
    assert "SERVFAIL" in observed.wildcard.problem


def test_what_hangs_ends_with_the_whole_time(ask: Callable[..., Resolver], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever question it is."""
    monkeypatch.setattr(module, "_DNS_LIMIT", 0.0)
    ask(hanging)
    observed = seen()
    assert not observed.answered
    assert 4 == len(observed.unreadable)


def test_the_command_says_it_in_one_line(
    ask: Callable[..., Resolver], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And fails: what can't be seen can't be moved."""
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    ask(silent)
    assert 1 == main(["adopt", "example.com"])
    out = capsys.readouterr().out.splitlines()
    (said,) = [line for line in out if "[resolver-silent]" in line]
    assert "--resolver" in said
    assert "- _mta-sts.example.com: not known" in out
