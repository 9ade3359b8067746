"""DNS as a check asks it: the answer, or by which failure there is none; and what each name server says itself."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from contextvars import ContextVar
from dataclasses import dataclass, replace
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
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from mta_sts.network_options import Network

_T = TypeVar("_T")

_MOST_CNAMES = 8
_LONGEST_CHAIN = 24
"""CNAME records that are followed to tell a long chain from a circle."""
_AT_ONCE = 6
"""Questions in flight for one domain: each has a socket of its own, and many systems allow 1,024 files."""
_SERVER_LIMITS = (1.5, 3.0)
"""Seconds for one question to one name server, first and again: a packet may get lost."""
_MOST_PARENTS = 4
"""Servers of the zone above that are asked, one after the other, to whom a zone is delegated."""
_domain_gate: ContextVar[asyncio.Semaphore] = ContextVar("domain_gate")

NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors that tell of this machine, not of the other: it has no way into that address family."""
NOT_LET_THROUGH = frozenset({errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.ETIMEDOUT})
"""Errors of a packet that was dropped or forbidden on the way, perhaps by our own network."""


@dataclass(slots=True)
class Reach:
    """What this machine reached in a run; what it never reached tells of it, not of the other side."""

    ipv6: bool = False
    """Whether anything answered over IPv6."""
    smtp: bool = False
    """Whether any MX host spoke to us: else port 25 is blocked as far as we can tell."""

    def no_route(self, address: str) -> bool:
        """Whether that nothing came back from an address tells of this machine: it has no IPv6."""
        return ":" in address and not self.ipv6

    def answered(self, address: str) -> None:
        """Note that something came back from an address."""
        self.ipv6 = self.ipv6 or ":" in address


NOT_SERVED = ("does not answer for the zone", "answers REFUSED", "answers NOTAUTH", "gives no answer")
"""Problems of a name server that was not given the zone, or is not there."""

EVERYTHING = Reach(ipv6=True, smtp=True)


class Failure(StrEnum):
    """Why a look-up gave no answer; "not there" is an answer."""

    SERVFAIL = "servfail"  # the zone's servers answer wrongly or not at all
    BOGUS = "bogus"  # DNSSEC fails: the resolver has an answer, and gives it only to who does not want it validated
    LAME = "lame"  # the servers that the zone is delegated to do not serve it, as they themselves show
    REFUSED = "refused"  # the resolver does not answer us, so nothing is known
    CNAME_LOOP = "cname-loop"  # CNAME records lead in a circle
    CNAME_CHAIN = "cname-chain"  # more CNAME records than resolvers follow
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
    broken: Looked | None = None
    """The address family that can't be looked up, where the other one can."""
    said: str = ""
    """What the zone's own servers say, where that is why there is no answer."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one server says of a name; `values` is None where it can't be asked from here, or refers to others."""

    server: str
    address: str
    name: str
    kind: str
    values: tuple[str, ...] | None = None
    problem: str = ""
    unreached: bool = False
    """Whether nothing came back, which may be our own network's fault."""
    cname: str = ""
    """Where a CNAME leads that stands at the name."""
    ttl: int = 0
    own: bool = True
    """Whether it is a server of the zone, not a resolver."""

    @property
    def told(self) -> bool:
        """Whether it tells anything: an answer, or that the server has none."""
        return bool(self.problem or self.cname) or self.values is not None


class Dns:
    """Asks the resolver, each resolver alone, and the zones' own servers."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._resolver = network.resolver()
        # RFC 6840 §5.7: AD in a question asks for AD in the answer.
        self._resolver.flags = dns.flags.RD | dns.flags.AD
        self._unchecked = network.resolver()
        self._unchecked.flags = dns.flags.RD | dns.flags.CD
        self._own_gate = asyncio.Semaphore(_AT_ONCE)
        self._shared: dict[tuple[str, ...], asyncio.Task[Any]] = {}
        self.answered = False
        """Whether the resolver answered anything at all."""
        self.reach = Reach()

    def for_one_domain(self) -> None:
        """Let what this task asks wait for its own questions alone, so that a domain that hangs delays no other."""
        _domain_gate.set(asyncio.Semaphore(_AT_ONCE))

    @property
    def _gate(self) -> asyncio.Semaphore:
        return _domain_gate.get(self._own_gate)

    async def look(self, name: str, kind: str) -> Looked:
        """Return what stands at a name, or why that can't be told."""
        found = await self._asked(name, kind)
        if found.failure is not Failure.SERVFAIL:
            return found
        # Resolvers give no reason: look whether DNSSEC or CNAME records are to blame.
        cnames = [name]
        unchecked = await self._asked(name, kind, self._unchecked)
        if not unchecked.failure:
            again = await self._asked(name, kind)  # a SERVFAIL that passes is no fault of DNSSEC
            return replace(again, failure=Failure.BOGUS) if again.failure is Failure.SERVFAIL else again
        while len(cnames) <= _LONGEST_CHAIN:
            step = await self._asked(cnames[-1], "CNAME")
            if not step.values:
                break
            cnames.append(step.values[0])
            if cnames[-1] in cnames[:-1]:
                return Looked(name, kind, cnames=tuple(cnames[1:]), failure=Failure.CNAME_LOOP)
        failure = Failure.CNAME_CHAIN if len(cnames) > _MOST_CNAMES + 1 else found.failure
        return Looked(name, kind, cnames=tuple(cnames[1:]), failure=failure)

    async def _asked(self, name: str, kind: str, resolver: dns.asyncresolver.Resolver | None = None) -> Looked:
        async with self._gate:
            found = await _resolved(resolver or self._resolver, name, kind)
        self.answered = self.answered or found.failure is not Failure.TIMEOUT
        return found

    async def addresses(self, name: str) -> Looked:
        """Return the addresses of a name of both families, IPv4 first; a failure of both, or of all there is, fails."""
        four, six = await asyncio.gather(self.look(name, "A"), self.look(name, "AAAA"))
        bad = next((one for one in (four, six) if one.failure), None)
        values = four.values + six.values
        if bad and not values:
            return bad
        good = six if four.failure else four
        return Looked(
            name,
            "A",
            values=values,
            cnames=good.cnames,
            ttl=max(four.ttl, six.ttl),
            exists=good.exists,
            authentic=four.authentic and six.authentic,
            broken=bad,
        )

    async def edges(self, name: str) -> Looked:
        """Return the addresses of a name as every resolver gives them: edges differ by who asks."""
        looked, *said = await asyncio.gather(
            self.addresses(name), self.by_resolver(name, "A"), self.by_resolver(name, "AAAA")
        )
        more = {value for answers in said for one in answers for value in one.values or ()} - set(looked.values)
        return looked if looked.failure else replace(looked, values=(*looked.values, *sorted(more)))

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

    async def public(self) -> bool:
        """Return whether the resolver knows the root of the public DNS; without a network some know no name at all."""
        root = await self.shared("root", ".", lambda: self.look(".", "NS"))
        return root.exists

    async def by_resolver(self, name: str, kind: str) -> list[Said]:
        """Return what each of several resolvers says; empty where one is asked."""
        servers = self._network.resolvers
        if len(servers) < 2:  # noqa: PLR2004  nothing to compare
            return []
        resolvers = [self._network.resolver(server) for server in servers]
        found = await asyncio.gather(*(_resolved(resolver, name, kind) for resolver in resolvers))
        return [
            Said(f"resolver {address}:{port}", address, name, kind, None if one.failure else one.values, own=False)
            for (address, port), one in zip(servers, found, strict=True)
        ]

    async def by_authority(self, domain: str, *questions: tuple[str, str]) -> list[Said]:
        """Return what each server of a domain's zone says itself to each question of name and type."""
        zone, named = domain, await self.look(domain, "NS")
        while (not named.values or named.cnames) and not named.failure and zone.count(".") > 1:
            zone = zone.partition(".")[2]
            named = await self.shared("NS", zone, lambda zone=zone: self.look(zone, "NS"))  # type: ignore[misc]
        # What no resolver can look up may be lame: then only the zone above knows its servers.
        lost = named.failure in (Failure.SERVFAIL, Failure.TIMEOUT) and self.answered
        if lost:
            servers = await self.shared("delegation", zone, lambda: self._delegation(zone))
        else:
            servers = await self.shared("servers", zone, lambda: self._servers(named))
        asked = [self._ask_all(server, address, questions) for server, one in servers for address in one.values]
        name, kind = questions[0]
        homeless = [
            Said(server, "", name, kind, problem="has no address in DNS")
            for server, one in servers
            if not one.values and not one.failure
        ]
        said = [one for answers in await asyncio.gather(*asked) for one in answers]
        if lost:  # the zone above was heard, so silence is these servers' own
            said = [replace(one, unreached=one.unreached and self.reach.no_route(one.address)) for one in said]
        return [*homeless, *said]

    async def _servers(self, named: Looked) -> list[tuple[str, Looked]]:
        found = await asyncio.gather(*(self.mail_host(server) for server in named.values))
        return list(zip(named.values, found, strict=True))

    async def _delegation(self, name: str) -> list[tuple[str, Looked]]:
        """Return the servers to which the zone above refers for a name (RFC 1034 §4.3.2), its own where it does not.

        None where nobody tells.
        """
        above, named = name, Looked(name, "NS")
        while above != "." and (not named.values or named.cnames):
            above = above.partition(".")[2] or "."
            named = await self.shared("NS", above, lambda above=above: self.look(above, "NS"))  # type: ignore[misc]
            if named.failure is Failure.TIMEOUT:
                return []
        servers = await self.shared("servers", above, lambda: self._servers(named))
        places = [(server, address) for server, one in servers for address in one.values]
        for server, address in places[:_MOST_PARENTS]:
            try:
                answer = await self._query(server, address, name, "NS")
            except (dns.exception.DNSException, OSError, EOFError):
                continue
            self.reach.answered(address)
            referral = [rrset for rrset in answer.authority if rrset.rdtype == dns.rdatatype.NS]
            if referral and not answer.flags & dns.flags.AA:
                return [await self._delegated(answer, rdata.target) for rdata in referral[0]]
            return servers
        return []

    async def _delegated(self, referral: dns.message.Message, server: dns.name.Name) -> tuple[str, Looked]:
        """Return a server with its addresses: those that came along, since the lame zone itself may hold them."""
        name = _plain(server)
        glue = [
            rdata.address
            for rrset in referral.additional
            if rrset.name == server and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)
            for rdata in rrset
        ]
        return name, Looked(name, "A", tuple(glue)) if glue else await self.mail_host(name)

    async def _query(self, server: str, address: str, name: str, kind: str) -> dns.message.Message:
        query = dns.message.make_query(name, kind, flags=0)
        port = self._network.port(server, address, DNS_PORT)
        async with self._gate:
            for limit in _SERVER_LIMITS[:-1]:
                with contextlib.suppress(dns.exception.Timeout):
                    return (await dns.asyncquery.udp_with_fallback(query, address, limit, port))[0]
            return (await dns.asyncquery.udp_with_fallback(query, address, _SERVER_LIMITS[-1], port))[0]

    async def _ask_all(self, server: str, address: str, questions: Sequence[tuple[str, str]]) -> list[Said]:
        """Return what one address of a server says to each question; a silent one is asked the first alone."""
        first = await self._ask(server, address, *questions[0])
        if first.unreached:
            return [replace(first, name=name, kind=kind) for name, kind in questions]
        return [first, *await asyncio.gather(*(self._ask(server, address, *question) for question in questions[1:]))]

    async def _ask(self, server: str, address: str, name: str, kind: str) -> Said:
        try:
            answer = await self._query(server, address, name, kind)
        except dns.exception.Timeout:
            return Said(server, address, name, kind, problem="gives no answer", unreached=True)
        except OSError as error:
            problem = "" if error.errno in NO_ROUTE else f"can't be asked ({error.strerror})"
            return Said(server, address, name, kind, problem=problem, unreached=error.errno in NOT_LET_THROUGH)
        except (dns.exception.DNSException, EOFError):
            self.reach.answered(address)
            return Said(server, address, name, kind, problem="gives an answer that is no DNS")
        self.reach.answered(address)
        return _said(answer, Said(server, address, name, kind))


def _said(answer: dns.message.Message, asked: Said) -> Said:
    """Return a name server's own answer with values and CNAME, or its problem."""
    code = answer.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return replace(asked, problem=f"answers {dns.rcode.to_text(code)}")
    if not answer.flags & dns.flags.AA:
        # Old servers refer to the root for what they do not serve.
        referred = any(rrset.rdtype == dns.rdatatype.NS and rrset.name != dns.name.root for rrset in answer.authority)
        return asked if referred else replace(asked, problem=NOT_SERVED[0])
    here, wanted = dns.name.from_text(asked.name), dns.rdatatype.from_text(asked.kind)
    rrset = answer.get_rrset(answer.answer, here, dns.rdataclass.IN, wanted)
    alias = answer.get_rrset(answer.answer, here, dns.rdataclass.IN, dns.rdatatype.CNAME)
    shown = rrset or alias
    return replace(
        asked,
        # A CNAME's end may lie in another zone.
        values=None if alias and not rrset else _values(rrset or ()),
        cname=_plain(alias[0].target) if alias else "",
        ttl=shown.ttl if shown else 0,
    )


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
