"""DNS as a check asks it: the answer, or by which failure there is none; and what each name server says itself."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

import dns.asyncquery
import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from mta_sts.network_options import DNS_PORT

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from mta_sts.network_options import Network

_T = TypeVar("_T")

_MOST_CNAMES = 8
_AT_ONCE = 200
"""Questions in flight over all domains: each has a socket of its own, and many systems allow 1,024 files."""
_SERVER_LIMIT = 3.0
"""Seconds for one question to one name server."""

NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors that tell of this machine, not of the other: it has no way into that address family."""


class Failure(StrEnum):
    """Why a look-up gave no answer; "not there" is an answer."""

    SERVFAIL = "servfail"  # the zone's servers answer wrongly or not at all, or DNSSEC fails
    REFUSED = "refused"  # the servers that the zone is delegated to do not serve it
    CNAME_LOOP = "cname-loop"  # CNAME records lead in a circle
    TIMEOUT = "timeout"  # the resolver itself does not answer, so nothing is known


@dataclass(frozen=True, slots=True)
class Looked:
    """What stands at a name: the values of one type, and the CNAME targets on the way; TTL in seconds."""

    name: str
    kind: str
    values: tuple[str, ...] = ()
    cnames: tuple[str, ...] = ()
    ttl: int = 0
    exists: bool = True
    """False where there is no such name at all (NXDOMAIN)."""
    authentic: bool = False
    """Whether the resolver says that DNSSEC vouches for the answer."""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What one server says of a name; `values` is None where it can't be asked from here, or refers to others."""

    server: str
    address: str
    name: str
    kind: str
    values: tuple[str, ...] | None = None
    problem: str = ""


class Dns:
    """Asks the resolver, each resolver alone, and the zones' own servers."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._resolver = network.resolver()
        # RFC 6840 §5.7: AD in a question asks for AD in the answer.
        self._resolver.flags = dns.flags.RD | dns.flags.AD
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._shared: dict[tuple[str, ...], asyncio.Task[Any]] = {}

    async def look(self, name: str, kind: str) -> Looked:
        """Return what stands at a name, or why that can't be told."""
        async with self._gate:
            found = await _resolved(self._resolver, name, kind)
        if found.failure not in (Failure.SERVFAIL, Failure.REFUSED):
            return found
        # Resolvers give no reason: look whether CNAME records are to blame.
        cnames = [name]
        while len(cnames) <= _MOST_CNAMES:
            async with self._gate:
                step = await _resolved(self._resolver, cnames[-1], "CNAME")
            if not step.values:
                return Looked(name, kind, cnames=tuple(cnames[1:]), failure=found.failure)
            cnames.append(step.values[0])
            if cnames[-1] in cnames[:-1]:
                break
        return Looked(name, kind, cnames=tuple(cnames[1:]), failure=Failure.CNAME_LOOP)

    async def addresses(self, name: str) -> Looked:
        """Return the addresses of a name of both families, IPv4 first; a failure of one family is the name's."""
        four, six = await asyncio.gather(self.look(name, "A"), self.look(name, "AAAA"))
        bad = next((one for one in (four, six) if one.failure), None)
        return bad or Looked(
            name,
            "A",
            values=four.values + six.values,
            cnames=four.cnames,
            ttl=max(four.ttl, six.ttl),
            exists=four.exists,
            authentic=four.authentic and six.authentic,
        )

    async def shared(self, what: str, name: str, ask: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what was asked once in this run, for all domains that want to know."""
        key = (what, name)
        if key not in self._shared:
            self._shared[key] = asyncio.create_task(ask())
        # A domain whose time is over must not take the answer away from the others.
        found: _T = await asyncio.shield(self._shared[key])
        return found

    async def mail_host(self, name: str) -> Looked:
        """Return the addresses of an MX host; many domains have the same one."""
        return await self.shared("addresses", name, lambda: self.addresses(name))

    async def caa(self, name: str) -> Looked:
        """Return the CAA records that count for a name: its own, else the closest above (RFC 8659 §3)."""
        labels = name.split(".")
        found = await self.look(name, "CAA")
        for depth in range(1, len(labels) - 1):
            if found.values or found.failure:
                return found
            above = ".".join(labels[depth:])
            found = await self.shared("CAA", above, lambda above=above: self.look(above, "CAA"))  # type: ignore[misc]
        return found

    async def by_resolver(self, name: str, kind: str) -> list[Said]:
        """Return what each of several resolvers says; empty where one is asked."""
        servers = self._network.resolvers
        if len(servers) < 2:  # noqa: PLR2004  nothing to compare
            return []
        resolvers = [self._network.resolver(server) for server in servers]
        found = await asyncio.gather(*(_resolved(resolver, name, kind) for resolver in resolvers))
        return [
            Said(f"resolver {address}:{port}", address, name, kind, None if one.failure else one.values)
            for (address, port), one in zip(servers, found, strict=True)
        ]

    async def by_authority(self, domain: str, *questions: tuple[str, str]) -> list[Said]:
        """Return what each server of a domain's zone says itself to each question of name and type."""
        try:
            async with self._gate:
                zone = await dns.asyncresolver.zone_for_name(domain, resolver=self._resolver)
        except (dns.exception.DNSException, OSError):
            return []
        plain = _plain(zone)
        servers = await self.shared("servers", plain, lambda: self._servers(plain))
        asked = [
            self._ask(server, address, name, kind)
            for server, addresses in servers
            for address in addresses
            for name, kind in questions
        ]
        return list(await asyncio.gather(*asked))

    async def _servers(self, zone: str) -> list[tuple[str, tuple[str, ...]]]:
        named = await self.look(zone, "NS")
        found = await asyncio.gather(*(self.mail_host(server) for server in named.values))
        return [(server, one.values) for server, one in zip(named.values, found, strict=True)]

    async def _ask(self, server: str, address: str, name: str, kind: str) -> Said:
        query = dns.message.make_query(name, kind, flags=0)
        port = self._network.port(server, address, DNS_PORT)
        values: tuple[str, ...] | None = None
        problem = ""
        try:
            async with self._gate:
                answer, _ = await dns.asyncquery.udp_with_fallback(query, address, _SERVER_LIMIT, port)
            values, problem = _said(answer, name, kind)
        except dns.exception.Timeout:
            problem = "gives no answer"
        except OSError as error:
            problem = "" if error.errno in NO_ROUTE else f"can't be asked ({error.strerror})"
        except (dns.exception.DNSException, EOFError):
            problem = "gives an answer that is no DNS"
        return Said(server, address, name, kind, values, problem)


def _said(answer: dns.message.Message, name: str, kind: str) -> tuple[tuple[str, ...] | None, str]:
    """Return values and problem of a name server's own answer."""
    code = answer.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return None, f"answers {dns.rcode.to_text(code)}"
    if not answer.flags & dns.flags.AA:
        referred = any(rrset.rdtype == dns.rdatatype.NS for rrset in answer.authority)
        return None, "" if referred else "does not answer for the zone"
    here, wanted = dns.name.from_text(name), dns.rdatatype.from_text(kind)
    rrset = answer.get_rrset(answer.answer, here, dns.rdataclass.IN, wanted)
    # A CNAME's end may lie in another zone.
    return (None, "") if rrset is None and answer.answer else (_values(rrset or ()), "")


async def _resolved(resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> Looked:
    try:
        answer = await resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
        response, exists = answer.response, True
    except dns.resolver.NXDOMAIN as error:
        response, exists = next(iter(error.responses().values())), False  # type: ignore[no-untyped-call]
    except dns.resolver.NoNameservers as error:
        codes = [said.rcode() for *_, said in error.kwargs["errors"] if said is not None]
        failure = Failure.REFUSED if dns.rcode.REFUSED in codes else Failure.SERVFAIL if codes else Failure.TIMEOUT
        return Looked(name, kind, failure=failure)
    except (dns.exception.Timeout, OSError):
        return Looked(name, kind, failure=Failure.TIMEOUT)
    except dns.exception.DNSException:
        return Looked(name, kind, failure=Failure.SERVFAIL)
    chain = response.resolve_chaining()
    return Looked(
        name,
        kind,
        values=_values(chain.answer or ()),
        cnames=tuple(_plain(rrset[0].target) for rrset in chain.cnames),
        ttl=max((rrset.ttl for rrset in response.answer), default=0),
        exists=exists,
        authentic=bool(response.flags & dns.flags.AD),
    )


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _values(rdatas: Iterable[Any]) -> tuple[str, ...]:
    """Return values as they are compared: TXT joined, names plain, MX as `preference host`, sorted by that."""
    texts: list[tuple[int, str]] = []
    for rdata in rdatas:
        if rdata.rdtype == dns.rdatatype.TXT:
            texts.append((0, b"".join(rdata.strings).decode("utf-8", "replace")))  # RFC 8461 §3.1: nothing between
        elif rdata.rdtype == dns.rdatatype.MX:
            texts.append((rdata.preference, f"{rdata.preference} {_plain(rdata.exchange)}"))
        elif rdata.rdtype in (dns.rdatatype.NS, dns.rdatatype.CNAME):
            texts.append((0, _plain(rdata.target)))
        else:
            texts.append((0, str(rdata.to_text())))
    return tuple(text for _, text in sorted(texts))
