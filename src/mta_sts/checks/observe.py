"""Look at one domain as senders do: its records, the policy at every address of the policy host, each MX host."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from mta_sts.checks.certificates import look_closer
from mta_sts.checks.lookup import NOT_SERVED, Dns, Failure, Looked, Said
from mta_sts.checks.smtp import NOTHING_BACK, SMTP_PORT, Session, start_session
from mta_sts.fetch import FetchCause, FetchedPolicy, FetchError, fetch_policy_async
from mta_sts.findings import MtaStsError
from mta_sts.identifier import content_id
from mta_sts.records import select_sts_record

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from mta_sts.network_options import Network
    from mta_sts.policy import Mode

_T = TypeVar("_T")

DOMAIN_LIMIT = 55.0
"""Seconds for one domain, whatever its servers do; what was not seen by then is said."""
_FETCH_LIMIT = 20.0
_CONNECTIONS = 8
"""TCP connections at once for one domain."""
_HTTPS_PORT = 443
_PROBE = "mta-sts-check-looks-for-a-wildcard"
"""A name that nobody publishes: what it shows comes from a wildcard."""
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_AGENTS = ("", "Postfix", "mta-sts", BROWSER)
"""User agents: none at all, as most senders; one of a mail server; what we are; and what no sender is."""
_REFUSALS = (
    FetchCause.STATUS, FetchCause.REDIRECT, FetchCause.MEDIA_TYPE, FetchCause.HTTP, FetchCause.POLICY,
    FetchCause.CONTENT_ENCODING, FetchCause.TOO_LARGE,
)  # fmt: skip
"""Causes that may depend on who asks."""
_TLS_CAUSES = [cause for cause in FetchCause if cause.startswith("certificate") or cause is FetchCause.TLS]
_PERHAPS_LAME = (Failure.REFUSED, Failure.SERVFAIL, Failure.TIMEOUT)
_NOTHING_FETCHED = (FetchCause.UNREACHABLE, FetchCause.TIMEOUT)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one address of the policy host gave to one user agent: a policy, or the error why there is none."""

    address: str
    agent: str
    served: FetchedPolicy | None = None
    error: FetchError | None = None
    certificate: bytes = b""
    """The leaf that was not accepted, in DER."""
    version: str = ""
    """The version of TLS that it speaks, where the handshake failed."""

    @property
    def unreached(self) -> bool:
        """Whether nothing came back, which may be our own network's fault."""
        refused = self.error is not None and isinstance(self.error.__cause__, ConnectionRefusedError)
        return self.error is not None and self.error.cause in _NOTHING_FETCHED and not refused


@dataclass(slots=True)
class MailHost:
    """One host that takes mail, its addresses, and what each of them showed."""

    name: str
    addresses: Looked
    sessions: list[Session] = field(default_factory=list)


@dataclass(slots=True)
class Seen:
    """Everything that was seen of a domain; None is what there was no time for, or what nobody asked for."""

    domain: str
    mx: Looked | None = None
    sts: Looked | None = None
    tlsrpt: Looked | None = None
    apex: Looked | None = None
    wildcard: Looked | None = None
    wildcard_host: Looked | None = None
    """The addresses of a name that nobody publishes, asked for where the policy host's may be a wildcard's."""
    host: Looked | None = None
    caa: Looked | None = None
    said: list[Said] = field(default_factory=list)
    fetched: list[Fetched] | None = None
    mail_hosts: list[MailHost] | None = None
    smtp: bool = True
    """Whether the MX hosts were to be looked at."""
    public: bool = True
    """Whether the resolver knows the public DNS; asked for where it says that there is no such domain."""
    in_time: bool = True

    @property
    def identifier(self) -> str:
        """The id that senders see, empty where they see none."""
        try:
            return select_sts_record(self.sts.values if self.sts else ()).id
        except MtaStsError:
            return ""

    @property
    def served(self) -> FetchedPolicy | None:
        """The policy that senders get: where addresses differ, the one that the id stands for, else the first one's."""
        every = [one.served for one in self.fetched or () if one.served]
        served = [one.served for one in self.fetched or () if one.served and not one.agent] or every
        if len({one.body for one in served}) > 1:
            served.sort(key=lambda one: not self.identifier.startswith(content_id(one.body)))
        return served[0] if served else None

    @property
    def mode(self) -> Mode | None:
        """The mode of that policy."""
        return self.served.policy.mode if self.served else None


class Observer:
    """Looks at domains; MX hosts that several have are looked at once."""

    def __init__(self, network: Network, *, smtp: bool = True) -> None:
        self._network = network
        self._dns = Dns(network)
        self._context = network.tls_context()
        self._chain = network.tls_context()
        self._chain.check_hostname = False
        self._smtp = smtp
        self.reach = self._dns.reach

    @property
    def answered(self) -> bool:
        """Whether the resolver answered anything at all."""
        return self._dns.answered

    async def look_at(self, domain: str) -> Seen:
        """Return what is seen of a domain (normalised) within `DOMAIN_LIMIT`; what came in time is kept."""
        seen = Seen(domain, smtp=self._smtp)
        # Each domain waits for its own connections alone: one that hangs takes no time from the others.
        self._dns.for_one_domain()
        gate = asyncio.Semaphore(_CONNECTIONS)
        try:
            async with asyncio.timeout(DOMAIN_LIMIT):
                await asyncio.gather(self._records(seen), self._policy_host(seen, gate), self._mail(seen, gate))
                await self._wildcard_host(seen)
        except TimeoutError:
            seen.in_time = False
        _order(seen)
        _find_lame(seen)
        return seen

    async def _records(self, seen: Seen) -> None:
        domain = seen.domain
        await asyncio.gather(
            _keep(seen, "sts", self._dns.look(f"_mta-sts.{domain}", "TXT")),
            _keep(seen, "tlsrpt", self._dns.look(f"_smtp._tls.{domain}", "TXT")),
            _keep(seen, "apex", self._dns.look(domain, "TXT")),
            self._same_everywhere(seen),
        )
        if (seen.sts and seen.sts.values) or (seen.tlsrpt and seen.tlsrpt.values):
            await _keep(seen, "wildcard", self._dns.look(f"{_PROBE}.{domain}", "TXT"))

    async def _same_everywhere(self, seen: Seen) -> None:
        domain = seen.domain
        texts = [(f"_mta-sts.{domain}", "TXT"), (domain, "MX"), (f"_smtp._tls.{domain}", "TXT")]

        async def note(asked: Coroutine[Any, Any, list[Said]]) -> None:
            seen.said += await asked

        await asyncio.gather(
            note(self._dns.by_authority(domain, *texts, (f"mta-sts.{domain}", "A"))),
            *(note(self._dns.by_resolver(*question)) for question in texts),
        )

    async def _policy_host(self, seen: Seen, gate: asyncio.Semaphore) -> None:
        name = f"mta-sts.{seen.domain}"
        host, _ = await asyncio.gather(
            _keep(seen, "host", self._dns.edges(name)), _keep(seen, "caa", self._dns.caa(name))
        )
        if host.failure:
            return
        seen.fetched = []
        await asyncio.gather(*(self._fetch(seen, gate, address, "") for address in host.values))
        # Bot rules turn away who shows no name, or the name of a mail server: ask as those, as ourselves, as a browser.
        good = next((one.address for one in seen.fetched if one.served), None)
        turned_away = [one.address for one in seen.fetched if one.error and one.error.cause in _REFUSALS]
        again = (
            [(good, "Postfix")] if good else [(each, who) for each in turned_away[:1] for who in ("mta-sts", BROWSER)]
        )
        await asyncio.gather(*(self._fetch(seen, gate, *one) for one in again))

    async def _fetch(self, seen: Seen, gate: asyncio.Semaphore, address: str, agent: str) -> None:
        port = self._network.port(f"mta-sts.{seen.domain}", address, _HTTPS_PORT)
        async with gate:
            try:
                served = await fetch_policy_async(
                    seen.domain, address, port, context=self._context, limit=_FETCH_LIMIT, user_agent=agent
                )
                fetched = Fetched(address, agent, served)
            except FetchError as error:
                closer = error.cause in _TLS_CAUSES
                shown = await look_closer(f"mta-sts.{seen.domain}", address, port) if closer else (b"", "")
                fetched = Fetched(address, agent, None, error, *shown)
        if not fetched.unreached:
            self.reach.answered(address)
        if seen.fetched is not None:
            seen.fetched.append(fetched)

    async def _wildcard_host(self, seen: Seen) -> None:
        """Look whether the policy host has only what every name below the domain has."""
        if seen.host and seen.host.values and seen.sts and not seen.sts.values and not seen.sts.failure:
            await _keep(seen, "wildcard_host", self._dns.edges(f"{_PROBE}.{seen.domain}"))

    async def _mail(self, seen: Seen, gate: asyncio.Semaphore) -> None:
        mx = await _keep(seen, "mx", self._dns.look(seen.domain, "MX"))
        if not mx.exists:
            seen.public = await self._dns.public()
        if mx.failure or not mx.exists:
            return
        hosts = mx_hosts(mx) or [seen.domain]  # RFC 5321 §5.1: without MX records mail goes to the domain itself
        if hosts == ["."]:
            return
        addresses = await asyncio.gather(*(self._mail_host(host) for host in hosts))
        seen.mail_hosts = [MailHost(name, looked) for name, looked in zip(hosts, addresses, strict=True)]
        if self._smtp:
            sessions = ((host, address) for host in seen.mail_hosts for address in host.addresses.values)
            await asyncio.gather(*(self._session(gate, *one) for one in sessions))

    async def _mail_host(self, name: str) -> Looked:
        looked = await self._dns.mail_host(name)
        if looked.failure not in _PERHAPS_LAME:
            return looked
        said = await self._dns.shared("lame", name, lambda: self._dns.by_authority(name, (name, "A")))
        return _lame(looked, said)

    async def _session(self, gate: asyncio.Semaphore, host: MailHost, address: str) -> None:
        async def start() -> Session:
            port = self._network.port(host.name, address, SMTP_PORT)
            session = await start_session(host.name, address, port, self._chain)
            self.reach.smtp = self.reach.smtp or session.greeted or session.cause not in NOTHING_BACK
            if session.greeted:
                self.reach.answered(address)
            return session

        async with gate:
            host.sessions.append(await self._dns.shared(f"smtp {address}", host.name, start))


async def _keep(seen: Seen, name: str, asked: Coroutine[Any, Any, _T]) -> _T:
    """Note what was asked as soon as it is there: a domain that runs out of time is judged by what it has."""
    found = await asked
    setattr(seen, name, found)
    return found


def _order(seen: Seen) -> None:
    """Put what came in any order into that of the addresses."""
    names = [f"_mta-sts.{seen.domain}", seen.domain, f"_smtp._tls.{seen.domain}", f"mta-sts.{seen.domain}"]
    seen.said.sort(key=lambda one: (not one.own, one.server, one.address, names.index(one.name)))
    if seen.host and seen.fetched:
        places = {address: place for place, address in enumerate(seen.host.values)}
        seen.fetched.sort(key=lambda one: (_AGENTS.index(one.agent), places[one.address]))
    for host in seen.mail_hosts or ():
        places = {address: place for place, address in enumerate(host.addresses.values)}
        host.sessions = sorted(host.sessions, key=lambda session, places=places: places[session.address])  # type: ignore[misc]


def _find_lame(seen: Seen) -> None:
    for field_name in ("mx", "sts", "tlsrpt", "apex", "host"):
        looked: Looked | None = getattr(seen, field_name)
        if looked is not None:
            setattr(seen, field_name, _lame(looked, seen.said))


def _lame(looked: Looked, said: Sequence[Said]) -> Looked:
    """Tell a lame delegation, where the zone's own servers show that they do not serve it, from what else fails."""
    own = [one for one in said if one.own and one.told and not one.unreached]
    nothing = len({one.name for one in own}) > 1 and all(one.problem for one in own)
    here = [one for one in own if nothing or one.name == looked.name]
    if looked.failure not in _PERHAPS_LAME or not here:
        return looked
    if not all(nothing or one.problem in NOT_SERVED for one in here):
        return looked
    words = ", ".join(dict.fromkeys(f"{one.server} {one.problem}" for one in here))
    return replace(looked, failure=Failure.LAME, said=words)


def mx_hosts(mx: Looked) -> list[str]:
    """Return the hosts of MX records, the most preferred first; a null MX is `.` (RFC 7505)."""
    hosts = [value.partition(" ")[2] or "." for value in mx.values]
    return list(dict.fromkeys(hosts))
