"""DNS records at Cloudflare: the one place where they are read and made (Route 53 is to fit beside it)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pulumi
import pulumi_cloudflare as cloudflare

from mta_sts import Finding, MtaStsError, cloud_resources, txt_value
from mta_sts.caa import caa_property
from mta_sts.names import to_ascii
from pulumi_mta_sts.live import LookUp, look, look_all, once_a_run, provider_for, unreadable
from pulumi_mta_sts.outside import outside

PACKAGE = "cloudflare"

MARK = "Managed by pulumi-mta-sts; a change by hand can stop mail."
"""Comment on every record we make (Cloudflare's free plan allows 100 characters): how a later run knows ours."""

LEAVING = cloud_resources.LEAVING
"""Comment on an MX record whose host is no longer declared: the engine may delete it once it is not needed."""

HANDED_OVER = "Was managed by pulumi-mta-sts until `manage_mx` was turned off."
"""Comment on an MX record that leaves the stack's state and stays in DNS."""

MOST_ITEMS = 100_000  # more than any plan allows in a zone; the provider's default is 1,000
_AUTOMATIC_TTL = 300  # what Cloudflare serves for ttl 1


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone that the token can see; `status` is `active` where Cloudflare answers for it."""

    id: str
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class LiveRecord:
    """A record as Cloudflare holds it now; `content` of a TXT is joined and without quotes."""

    id: str
    zone_id: str
    name: str
    type: str
    content: str
    presentation: str
    ttl: int
    priority: int | None
    proxied: bool
    comment: str
    modified: float
    """Since when it stands as it is, in seconds since the epoch: now where Cloudflare does not say, the safe answer."""

    @property
    def ours(self) -> bool:
        """Whether this package made (or has taken over) the record."""
        return self.comment in (MARK, LEAVING)

    def __str__(self) -> str:
        return f"{self.name} {self.type} {self.presentation} (record {self.id})"


_ZONES = LookUp(
    function="cloudflare:index/getZones:getZones",
    args={"maxItems": MOST_ITEMS},
    cloud="cloudflare",
    reads="the zones at Cloudflare",
    needs="give CLOUDFLARE_API_TOKEN a valid token with Zone:Read and DNS:Edit on the zones (docs/permissions.md)",
)


def _records_of(zone_id: str, name: str | None = None) -> LookUp:
    only = {"name": {"exact": name}} if name else {}
    return LookUp(
        function="cloudflare:index/getDnsRecords:getDnsRecords",
        args={"zoneId": zone_id, "maxItems": MOST_ITEMS} | only,
        cloud="cloudflare",
        reads=f"the DNS records of zone {zone_id} at Cloudflare",
        needs="give the token DNS:Read on that zone to preview, DNS:Edit to deploy (docs/permissions.md)",
    )


def zones(opts: pulumi.ResourceOptions | None) -> list[Zone]:
    """Return every zone that the Cloudflare token can see, one look-up a run; raises MtaStsError where it may not."""
    provider = provider_for(PACKAGE, opts)

    def read() -> list[Zone]:
        (answer,), findings = look_all([_ZONES], provider)
        if findings:
            raise MtaStsError("zones", findings)
        return [Zone(zone["id"], to_ascii(zone["name"]), zone.get("status", "active")) for zone in answer["results"]]

    return once_a_run(("zones", provider), read)


def zones_of(domain: str, known: Iterable[Zone]) -> list[Zone]:
    """Return the zones that hold a domain, those of the longest name; active ones hide others of that name."""
    holding = [zone for zone in known if domain == zone.name or domain.endswith(f".{zone.name}")]
    longest = max((len(zone.name) for zone in holding), default=0)
    candidates = [zone for zone in holding if len(zone.name) == longest]
    return [zone for zone in candidates if zone.status == "active"] or candidates


def records(
    zone_ids: Sequence[str], opts: pulumi.ResourceOptions | None
) -> tuple[dict[str, list[LiveRecord]], list[Finding]]:
    """Return the live records of each zone that can be read, and why others can't: one look-up a zone and run."""
    provider = provider_for(PACKAGE, opts)
    known: dict[str, list[LiveRecord]] = once_a_run(("records", provider), dict)
    missing = [zone_id for zone_id in dict.fromkeys(zone_ids) if zone_id not in known]
    answers, findings = look_all([_records_of(zone_id) for zone_id in missing], provider)
    for zone_id, answer in zip(missing, answers, strict=True):
        if answer is not None:
            known[zone_id] = [_live(zone_id, record) for record in answer["results"]]
    return {zone_id: known[zone_id] for zone_id in zone_ids if zone_id in known}, findings


def _live(zone_id: str, record: dict[str, Any]) -> LiveRecord:
    presentation = str(record.get("content") or "")
    priority = record.get("priority")
    return LiveRecord(
        id=record["id"],
        zone_id=zone_id,
        name=to_ascii(record["name"]),
        type=record["type"],
        content=txt_value(presentation) if record["type"] == "TXT" else presentation.rstrip(".").lower(),
        presentation=presentation,
        ttl=int(record["ttl"]),
        priority=None if priority is None else int(priority),
        proxied=bool(record.get("proxied")),
        comment=str(record.get("comment") or ""),
        modified=_seconds(record.get("modifiedOn")),
    )


def _seconds(date: str | None) -> float:
    return datetime.fromisoformat(date).timestamp() if date else outside().now()


def caa_stopping(issuers: Iterable[str], domain: str, live: Iterable[LiveRecord]) -> list[LiveRecord]:
    """Return the CAA records that stop these issuers for a name, none where issuing is allowed (RFC 8659 §3).

    Only the zone's own records are seen; a CAA record above the zone is found by ACM itself.
    """
    allowed = {issuer.lower() for issuer in issuers}
    by_name: dict[str, list[LiveRecord]] = {}
    for record in live:
        if record.type == "CAA":
            by_name.setdefault(record.name, []).append(record)
    labels = domain.split(".")
    for depth in range(len(labels)):
        relevant = by_name.get(".".join(labels[depth:]))
        if relevant:
            issue = [record for record in relevant if caa_property(record.content)[0] == "issue"]
            granted = any(caa_property(record.content)[1] in allowed for record in issue)
            return [] if granted else issue
    return []


def delegations(
    names: Sequence[str], live: Iterable[LiveRecord], apexes: Collection[str]
) -> dict[str, list[LiveRecord]]:
    """Return the NS records at or above these names, by name: below the apex they hand everything to other servers."""
    found: dict[str, list[LiveRecord]] = {}
    for record in live:
        above = any(f".{name}".endswith(f".{record.name}") for name in names)
        if record.type == "NS" and above and record.name not in apexes:
            found.setdefault(record.name, []).append(record)
    return found


def excludes(kind: str, live: LiveRecord) -> bool:
    """Whether a live record leaves no room for one of another type at its name: a CNAME stands alone."""
    return live.type != kind and "CNAME" in (live.type, kind)  # RFC 1034 §3.6.2


def effective_ttl(ttl: int) -> int:
    """Return the seconds a resolver may keep a record of this TTL; Cloudflare's 1 means automatic."""
    return _AUTOMATIC_TTL if ttl == 1 else ttl


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to make; `content` is in presentation form (a TXT quoted, other names without trailing dot)."""

    name: str
    type: str
    content: pulumi.Input[str]
    ttl: pulumi.Input[int]
    priority: int | None = None
    comment: str = MARK


def make(
    resource_name: str,
    zone_id: pulumi.Input[str],
    record: Record,
    opts: pulumi.ResourceOptions,
    adopting: LiveRecord | None = None,
) -> cloudflare.DnsRecord:
    """Register one DNS-only record.

    `adopting` is a record that someone else made: it is imported exactly as it is, so that nothing changes for
    senders in the update that takes it over. MX records are made here too, in the form that pulumi-cloudflare
    below 7 takes (`content` and `priority`; a later major may want `data`).
    """
    inputs: dict[str, Any] = {
        "content": record.content,
        "ttl": record.ttl,
        "priority": record.priority,
        # A proxied name would answer with Cloudflare's own edge and certificate.
        "proxied": False,
        "comment": record.comment,
    }
    if adopting is not None:
        inputs = {
            "content": adopting.presentation,
            "ttl": adopting.ttl,
            "priority": adopting.priority,
            "proxied": adopting.proxied,
            "comment": adopting.comment or None,
        }
    # One name holds one CNAME: a replacement made first is refused (81053).
    opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=record.type == "CNAME"))
    return cloudflare.DnsRecord(resource_name, zone_id=zone_id, name=record.name, type=record.type, opts=opts, **inputs)


async def at_name(zone_id: str, name: str, provider: pulumi.ProviderResource | None) -> list[LiveRecord]:
    """Return what stands at one name now, asked afresh; raises MtaStsError where that can't be read."""
    look_up = _records_of(zone_id, name)
    try:
        answer = await look(look_up, provider)
    except Exception as error:
        raise MtaStsError(name, [unreadable(look_up, error)]) from error
    return [_live(zone_id, found) for found in answer["results"]]


def no_second_record(hook_name: str, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceHook:
    """Return the hook that looks at the live name before a record is created, and refuses to make a second one.

    The plan looked too, but only the engine knows that it is about to create: after a killed update a record of
    ours can stand there and not be in the state.
    """
    provider = provider_for(PACKAGE, opts)

    async def refuse_twin(args: pulumi.ResourceHookArgs) -> None:
        wanted = args.new_inputs or {}
        zone_id, name = wanted.get("zoneId"), wanted.get("name")
        if not isinstance(zone_id, str) or not isinstance(name, str):
            return  # not known in this preview; the update looks again
        twins = [record for record in await at_name(zone_id, name, provider) if _clash(wanted, record)]
        if twins:
            adoptable = all(twin.type == wanted["type"] for twin in twins)
            way_out = (
                "remove it, or set the domain's `adopt: true` to import it (not for the record that validates a "
                "certificate)"
                if adoptable
                else f"remove it: no {wanted['type']} can stand beside it, nor take it over"
            )
            raise FileExistsError(
                f"{', '.join(map(str, twins))} stands there already and is not in this stack's state (another stack's, "
                f"or left by an interrupted update); {way_out}"
            )

    return pulumi.ResourceHook(hook_name, refuse_twin, pulumi.ResourceHookOptions(on_dry_run=True))


def _clash(wanted: Mapping[str, Any], live: LiveRecord) -> bool:
    """Whether a live record would be a twin of the one to be created, or stop it."""
    if wanted["type"] == "MX":
        return live.type == "MX" and live.content == wanted["content"]
    return live.type == wanted["type"] or excludes(wanted["type"], live)
