"""What a domain publishes today, on whatever host: its three names, its MX hosts, and the policy at each address."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from mta_sts.fetch import FetchedPolicy, fetch_policy_async
from mta_sts.findings import Finding, MtaStsError
from mta_sts.network_options import DNS_PORT

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from mta_sts.adoption.zone import ZoneRecords
    from mta_sts.network_options import Network

_MOST_CNAMES = 8
_AUTHORITY_LIMIT = 3.0
"""Seconds for a question to a zone's own servers; where they can't be reached, what the resolver says must do."""
_DNS_LIMIT = 25.0
"""Seconds for all that is asked of DNS; what has no answer by then is not known."""
_FETCH_LIMIT = 20.0


@dataclass(frozen=True, slots=True)
class Hop:
    """One CNAME record on the way from a name to what stands at its end; TTL in seconds."""

    owner: str
    target: str
    ttl: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What stands at a name: the CNAME records that lead away, and the values of one type at their end.

    `ttl` is the longest time in seconds for which a resolver may go on with any part of it; `problem` says why nothing
    is known.
    """

    name: str
    cnames: Sequence[Hop] = ()
    values: Sequence[str] = ()
    ttl: int = 0
    problem: str = ""
    exists: bool = True
    """False where there is no such name at all (NXDOMAIN)."""

    @property
    def delegated_to(self) -> str:
        """The name that a CNAME at the name itself leads to, empty where there is none."""
        return self.cnames[0].target if self.cnames else ""


@dataclass(frozen=True, slots=True)
class Served:
    """What one address of the policy host serves: a policy, or the reason why there is none."""

    address: str
    fetched: FetchedPolicy | None = None
    problem: Finding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything that was seen of a domain, and when."""

    domain: str
    seen: datetime
    zone: str
    name_servers: Sequence[str]
    delegated: Sequence[str]
    """Those of the three names that are zones of their own, cut off by NS records."""
    sts: Looked
    tlsrpt: Looked
    host: Looked
    """At `mta-sts`; the values are addresses."""
    mx: Looked
    """The values are `preference host`."""
    caa: Looked
    """The records that count for the policy host's certificate (RFC 8659 §3)."""
    wildcard: Looked
    """The TXT at a name below the domain that nobody can have made."""
    served: Sequence[Served] = ()
    records: ZoneRecords | None = None
    """The zone's own records with their ids, where the API could be asked."""
    unread: str = ""
    """Why the API could not be asked."""
    whole_ttls: bool = True
    """Whether every TTL is the record's own, not what a resolver had left of it."""
    answered: bool = True
    """Whether the resolver gave any answer at all."""

    @property
    def blind(self) -> bool:
        """Whether too little is known of the domain, or there is none, for a plan."""
        return bool(self.unreadable) or not self.answered or not self.mx.exists

    @property
    def needed(self) -> tuple[Looked, ...]:
        """What a plan can't do without."""
        return self.sts, self.tlsrpt, self.host, self.mx

    @property
    def unreadable(self) -> list[Looked]:
        """What could not be looked up, and must be for a plan."""
        return [one for one in self.needed if one.problem]


@dataclass(slots=True)
class _Dns:
    """Asks the resolver for the answer, and the zones' own servers for the TTL that the answer started with."""

    network: Network
    resolver: dns.asyncresolver.Resolver
    ends: float
    """When everything must have been asked, by the loop's clock."""
    whole_ttls: bool = True
    answered: bool = False
    _servers: dict[dns.name.Name, asyncio.Task[list[tuple[str, int]]]] = field(default_factory=dict)

    async def look(self, name: str, kind: str) -> Looked:
        """Return what stands at a name; a name that is not there has no values."""
        try:
            response = await self._ask(name, kind)
        except (dns.exception.DNSException, OSError) as error:
            reason = _reason(error)
            # A CNAME that leads into nothing answerable is still one; senders see a failure.
            own = [] if reason == _SILENCE else await self._own_cname(name)
            return Looked(name, own, problem=f"{name} {kind} can't be looked up ({reason})")
        cnames: list[Hop] = []
        values: list[str] = []
        ttls = [0]
        here = dns.name.from_text(name)
        for _ in range(_MOST_CNAMES):
            for rrset in response.answer:
                if rrset.name == here and dns.rdatatype.to_text(rrset.rdtype) in (kind, "CNAME"):
                    break
            else:
                break
            ttl = await self._whole_ttl(response, rrset)
            ttls.append(ttl)
            if rrset.rdtype != dns.rdatatype.CNAME:
                values = sorted(_text(rdata) for rdata in rrset)
                break
            target = rrset[0].target
            cnames.append(Hop(_plain(here), _plain(target), ttl))
            here = target
        return Looked(name, cnames, values, max(ttls), exists=response.rcode() != dns.rcode.NXDOMAIN)

    async def zone(self, name: str) -> str:
        """Return the zone that holds a name, empty where that can't be told."""
        try:
            async with asyncio.timeout_at(self.ends):
                return _plain(await dns.asyncresolver.zone_for_name(name, resolver=self.resolver))
        except (dns.exception.DNSException, OSError):
            return ""

    async def _ask(self, name: str, kind: str) -> dns.message.Message:
        try:
            async with asyncio.timeout_at(self.ends):
                answer = await self.resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
            response = answer.response
        except dns.resolver.NXDOMAIN as error:
            response = next(iter(error.responses().values()))  # type: ignore[no-untyped-call]
        except dns.exception.DNSException as error:
            self.answered = self.answered or _reason(error) != _SILENCE
            raise
        self.answered = True
        return response

    async def _own_cname(self, name: str) -> list[Hop]:
        try:
            response = await self._ask(name, "CNAME")
        except (dns.exception.DNSException, OSError):
            return []
        return [Hop(name, _plain(rrset[0].target), rrset.ttl) for rrset in response.answer]

    async def _whole_ttl(self, response: dns.message.Message, rrset: Any) -> int:
        """Return the TTL that an RRset has at its zone's own servers, else the one that was seen."""
        seen = int(rrset.ttl)
        if response.flags & dns.flags.AA:
            return seen
        try:
            async with asyncio.timeout_at(self.ends):
                zone = await dns.asyncresolver.zone_for_name(rrset.name, resolver=self.resolver)
                if zone not in self._servers:
                    self._servers[zone] = asyncio.create_task(self._servers_of(zone))
                # Others wait for it as well.
                direct = self.network.resolver(*await asyncio.shield(self._servers[zone]))
                direct.lifetime = _AUTHORITY_LIMIT
                answer = await direct.resolve(rrset.name, rrset.rdtype, raise_on_no_answer=False, search=False)
            owned = answer.response.get_rrset(answer.response.answer, rrset.name, rrset.rdclass, rrset.rdtype)
        except (dns.exception.DNSException, OSError, ValueError):
            owned = None
        self.whole_ttls = self.whole_ttls and owned is not None
        return seen if owned is None else max(seen, owned.ttl)

    async def _servers_of(self, zone: dns.name.Name) -> list[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        for record in await self.resolver.resolve(zone, "NS", search=False):
            for kind in ("A", "AAAA"):
                answer = await self.resolver.resolve(record.target, kind, raise_on_no_answer=False, search=False)
                addresses = [rdata.address for rdata in answer.rrset or ()]
                host = _plain(record.target)
                found += [(address, self.network.port(host, address, DNS_PORT)) for address in addresses]
        return found

    async def look_addresses(self, name: str) -> Looked:
        """Return the addresses of a name, of both families; a problem only where neither could be asked for."""
        both = await asyncio.gather(self.look(name, "A"), self.look(name, "AAAA"))
        told = [one for one in both if not one.problem] or both
        values = [value for one in told for value in one.values]
        return Looked(name, told[0].cnames, values, max(one.ttl for one in told), told[0].problem)


async def observe(domain: str, network: Network) -> Observed:
    """Look at a domain (normalised) from outside; what can't be looked up says so in its own place."""
    asking = _Dns(network, network.resolver(), asyncio.get_running_loop().time() + _DNS_LIMIT)
    names = (f"_mta-sts.{domain}", f"_smtp._tls.{domain}", f"mta-sts.{domain}")
    # All at once: a resolver that is silent costs the time of one question.
    holding = asyncio.gather(*(asking.zone(name) for name in (domain, *names)))
    sts, tlsrpt, host, mx, caa, wildcard = await asyncio.gather(
        asking.look(names[0], "TXT"),
        asking.look(names[1], "TXT"),
        asking.look_addresses(names[2]),
        asking.look(domain, "MX"),
        _caa(asking, names[2]),
        asking.look(f"mta-sts-adopt-looks-for-a-wildcard.{domain}", "TXT"),
    )
    zone, *zones = await holding
    servers = await asking.look(zone, "NS") if zone else Looked(domain)
    context = await asyncio.to_thread(network.tls_context)
    served = await asyncio.gather(*(_fetch(domain, address, network, context) for address in host.values))
    return Observed(
        domain=domain,
        seen=datetime.now(UTC).replace(microsecond=0),
        zone=zone,
        name_servers=servers.values,
        delegated=[name for name, own in zip(names, zones, strict=True) if zone and own not in ("", zone)],
        sts=sts,
        tlsrpt=tlsrpt,
        host=host,
        mx=mx,
        caa=caa,
        wildcard=wildcard,
        served=served,
        whole_ttls=asking.whole_ttls,
        answered=asking.answered,
    )


async def _caa(asking: _Dns, name: str) -> Looked:
    """Return the CAA records that count for a name: its own (a CNAME is followed), else the closest above."""
    labels = name.split(".")
    for depth in range(len(labels) - 1):
        looked = await asking.look(".".join(labels[depth:]), "CAA")
        if looked.values or looked.problem:
            return looked
    return Looked(name)


async def _fetch(domain: str, address: str, network: Network, context: ssl.SSLContext) -> Served:
    port = network.port(f"mta-sts.{domain}", address, 443)
    try:
        return Served(address, await fetch_policy_async(domain, address, port, context=context, limit=_FETCH_LIMIT))
    except MtaStsError as error:
        return Served(address, problem=error.findings[0])


_SILENCE = "no answer"


def _reason(error: Exception) -> str:
    """Return in a few words why a look-up failed."""
    if isinstance(error, dns.resolver.NoNameservers):
        codes = {dns.rcode.to_text(said.rcode()) for *_, said in error.kwargs["errors"] if said is not None}
        return " and ".join(sorted(codes)) or _SILENCE
    if isinstance(error, (dns.exception.Timeout, OSError)):
        return _SILENCE
    return " ".join(str(error).split())[:100]


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _text(rdata: Any) -> str:
    """Return the value as we compare it: TXT joined, names plain, the rest in presentation form."""
    if rdata.rdtype == dns.rdatatype.TXT:
        return b"".join(rdata.strings).decode("utf-8", "replace")
    if rdata.rdtype == dns.rdatatype.MX:
        return f"{rdata.preference} {_plain(rdata.exchange)}"
    if rdata.rdtype == dns.rdatatype.NS:
        return _plain(rdata.target)
    return str(rdata.to_text())
