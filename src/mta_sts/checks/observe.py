"""Look at one domain as senders do: its records, the policy at every address of the policy host, each MX host."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mta_sts.checks.certificates import shown_certificate
from mta_sts.checks.lookup import Dns, Looked, Said
from mta_sts.checks.smtp import SMTP_PORT, Session, SmtpCause, start_session
from mta_sts.fetch import FetchCause, FetchedPolicy, FetchError, fetch_policy_async

if TYPE_CHECKING:
    from mta_sts.network_options import Network
    from mta_sts.policy import Mode

DOMAIN_LIMIT = 55.0
"""Seconds for one domain, whatever its servers do; what was not seen by then is said."""
_FETCH_LIMIT = 20.0
_CONNECTIONS = 128
"""TCP connections at once over all domains."""
_HTTPS_PORT = 443
_WILDCARD_PROBE = "mta-sts-check-looks-for-a-wildcard"
AGENTS = ("", "Postfix", "mta-sts")
"""User agents that senders show (none at all is usual), and the one that says what we are."""
_REFUSALS = (
    FetchCause.STATUS, FetchCause.REDIRECT, FetchCause.MEDIA_TYPE, FetchCause.HTTP, FetchCause.POLICY,
    FetchCause.CONTENT_ENCODING, FetchCause.TOO_LARGE,
)  # fmt: skip
"""Causes that may depend on who asks."""
_CERTIFICATE_CAUSES = [cause for cause in FetchCause if cause.startswith("certificate")]


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one address of the policy host gave to one user agent: a policy, or the error why there is none."""

    address: str
    agent: str
    served: FetchedPolicy | None = None
    error: FetchError | None = None
    certificate: bytes = b""
    """The leaf that was not accepted, in DER."""


@dataclass(frozen=True, slots=True)
class MailHost:
    """One host that takes mail, its addresses, and what each of them showed."""

    name: str
    addresses: Looked
    sessions: tuple[Session, ...] = ()


@dataclass(slots=True)
class Seen:
    """Everything that was seen of a domain; None is what there was no time for, or what nobody asked for."""

    domain: str
    mx: Looked | None = None
    sts: Looked | None = None
    tlsrpt: Looked | None = None
    apex: Looked | None = None
    wildcard: Looked | None = None
    host: Looked | None = None
    caa: Looked | None = None
    said: list[Said] = field(default_factory=list)
    fetched: list[Fetched] | None = None
    mail_hosts: list[MailHost] | None = None
    in_time: bool = True

    @property
    def served(self) -> FetchedPolicy | None:
        """The policy that senders get, from the first address that serves one."""
        return next((one.served for one in self.fetched or () if one.served), None)

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
        self._gate = asyncio.Semaphore(_CONNECTIONS)
        self._smtp = smtp
        self.connected = False
        """Whether any MX host was reached in this run: else port 25 is blocked as far as we can tell."""

    async def look_at(self, domain: str) -> Seen:
        """Return what is seen of a domain (normalised) within `DOMAIN_LIMIT`."""
        seen = Seen(domain)
        try:
            async with asyncio.timeout(DOMAIN_LIMIT):
                await asyncio.gather(self._records(seen), self._policy_host(seen), self._mail(seen))
        except TimeoutError:
            seen.in_time = False
        return seen

    async def _records(self, seen: Seen) -> None:
        domain = seen.domain
        name = f"_mta-sts.{domain}"
        seen.sts, seen.tlsrpt, seen.apex, seen.said = sts, tlsrpt, _, _ = await asyncio.gather(
            self._dns.look(name, "TXT"),
            self._dns.look(f"_smtp._tls.{domain}", "TXT"),
            self._dns.look(domain, "TXT"),
            self._same_everywhere(domain, (name, "TXT"), (domain, "MX")),
        )
        if sts.values or tlsrpt.values:
            seen.wildcard = await self._dns.look(f"{_WILDCARD_PROBE}.{domain}", "TXT")

    async def _same_everywhere(self, domain: str, *questions: tuple[str, str]) -> list[Said]:
        own, *others = await asyncio.gather(
            self._dns.by_authority(domain, *questions), *(self._dns.by_resolver(*question) for question in questions)
        )
        return [*own, *(said for each in others for said in each)]

    async def _policy_host(self, seen: Seen) -> None:
        name = f"mta-sts.{seen.domain}"
        seen.host, seen.caa = host, _ = await asyncio.gather(self._dns.addresses(name), self._dns.caa(name))
        anonymous = await asyncio.gather(*(self._fetch(seen.domain, address, "") for address in host.values))
        seen.fetched = list(anonymous)
        # Bot rules turn away who shows no name, or the name of a mail server: ask as those, and as ourselves.
        good = next((one.address for one in anonymous if one.served), None)
        turned_away = [one.address for one in anonymous if one.error and one.error.cause in _REFUSALS]
        again = [(good, "Postfix")] if good else [(address, "mta-sts") for address in turned_away[:1]]
        seen.fetched += await asyncio.gather(*(self._fetch(seen.domain, *one) for one in again))

    async def _fetch(self, domain: str, address: str, agent: str) -> Fetched:
        port = self._network.port(f"mta-sts.{domain}", address, _HTTPS_PORT)
        try:
            async with self._gate:
                served = await fetch_policy_async(
                    domain, address, port, context=self._context, limit=_FETCH_LIMIT, user_agent=agent
                )
        except FetchError as error:
            refused = error.cause in _CERTIFICATE_CAUSES
            shown = await shown_certificate(f"mta-sts.{domain}", address, port) if refused else b""
            return Fetched(address, agent, error=error, certificate=shown)
        return Fetched(address, agent, served)

    async def _mail(self, seen: Seen) -> None:
        seen.mx = await self._dns.look(seen.domain, "MX")
        if seen.mx.failure:
            return
        hosts = mx_hosts(seen.mx) or [seen.domain]  # RFC 5321 §5.1: without MX records mail goes to the domain itself
        if hosts == ["."]:
            return
        seen.mail_hosts = list(await asyncio.gather(*(self._host(host) for host in hosts)))

    async def _host(self, name: str) -> MailHost:
        addresses = await self._dns.mail_host(name)
        if not self._smtp:
            return MailHost(name, addresses)
        sessions = await asyncio.gather(*(self._session(name, address) for address in addresses.values))
        return MailHost(name, addresses, tuple(sessions))

    async def _session(self, host: str, address: str) -> Session:
        async def start() -> Session:
            async with self._gate:
                port = self._network.port(host, address, SMTP_PORT)
                session = await start_session(host, address, port, self._chain)
            unreached = (SmtpCause.NO_CONNECTION, SmtpCause.NO_ROUTE)
            self.connected = self.connected or session.cause not in unreached
            return session

        return await self._dns.shared(f"smtp {address}", host, start)


def mx_hosts(mx: Looked) -> list[str]:
    """Return the hosts of MX records, the most preferred first; a null MX is `.` (RFC 7505)."""
    hosts = [value.partition(" ")[2] or "." for value in mx.values]
    return list(dict.fromkeys(hosts))
