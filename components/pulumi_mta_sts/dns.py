"""DNS records at Cloudflare: the one place where they are read and made (Route 53 is to fit beside it)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_cloudflare as cloudflare

from mta_sts import txt_value
from pulumi_mta_sts.live import invoke, once_a_run, provider_for, wait_for

PACKAGE = "cloudflare"

MARK = "Managed by pulumi-mta-sts; a change by hand can stop mail."
"""Comment on every record we make (Cloudflare's free plan allows 100 characters): how a later run knows ours."""

MOST_ITEMS = 100_000  # more than any plan allows in a zone; the provider's default is 1,000
_AUTOMATIC_TTL = 300  # what Cloudflare serves for ttl 1


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone that the token can see."""

    id: str
    name: str


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

    @property
    def ours(self) -> bool:
        """Whether this package made (or has taken over) the record."""
        return self.comment == MARK

    def __str__(self) -> str:
        return f"{self.name} {self.type} {self.presentation} (record {self.id})"


def zones(opts: pulumi.ResourceOptions | None) -> list[Zone]:
    """Return every zone that the Cloudflare token can see, one look-up a run."""
    provider = provider_for(PACKAGE, opts)

    def read() -> list[Zone]:
        (answer,) = wait_for(
            [invoke("cloudflare:index/getZones:getZones", {"maxItems": MOST_ITEMS}, provider)],
        )
        return [Zone(zone["id"], zone["name"].lower()) for zone in answer["results"]]

    return once_a_run(("zones", provider), read)


def zone_of(domain: str, known: Iterable[Zone]) -> Zone | None:
    """Return the zone that holds a domain: the longest name that is its suffix."""
    holding = [zone for zone in known if domain == zone.name or domain.endswith(f".{zone.name}")]
    return max(holding, key=lambda zone: len(zone.name), default=None)


def records(zone_ids: Sequence[str], opts: pulumi.ResourceOptions | None) -> dict[str, list[LiveRecord]]:
    """Return the live records of each zone: one look-up a zone and run, all at once."""
    provider = provider_for(PACKAGE, opts)
    known: dict[str, list[LiveRecord]] = once_a_run(("records", provider), dict)
    missing = [zone_id for zone_id in dict.fromkeys(zone_ids) if zone_id not in known]
    answers = wait_for(
        invoke(
            "cloudflare:index/getDnsRecords:getDnsRecords",
            {"zoneId": zone_id, "maxItems": MOST_ITEMS},
            provider,
        )
        for zone_id in missing
    )
    for zone_id, answer in zip(missing, answers, strict=True):
        known[zone_id] = [_live(zone_id, record) for record in answer["results"]]
    return {zone_id: known[zone_id] for zone_id in zone_ids}


def _live(zone_id: str, record: dict[str, Any]) -> LiveRecord:
    presentation = str(record.get("content") or "")
    priority = record.get("priority")
    return LiveRecord(
        id=record["id"],
        zone_id=zone_id,
        name=record["name"].lower(),
        type=record["type"],
        content=txt_value(presentation) if record["type"] == "TXT" else presentation.rstrip(".").lower(),
        presentation=presentation,
        ttl=int(record["ttl"]),
        priority=None if priority is None else int(priority),
        proxied=bool(record.get("proxied")),
        comment=str(record.get("comment") or ""),
    )


def caa_allows(issuers: Iterable[str], domain: str, live: Iterable[LiveRecord]) -> list[LiveRecord]:
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
            issue = [record for record in relevant if _caa_tag(record) == "issue"]
            granted = any(_caa_issuer(record) in allowed for record in issue)
            return [] if granted or not issue else issue
    return []


def _caa_tag(record: LiveRecord) -> str:
    return record.content.split(None, 2)[1].lower()


def _caa_issuer(record: LiveRecord) -> str:
    return record.content.split(None, 2)[2].strip('"').split(";")[0].strip().lower()


def effective_ttl(ttl: int) -> int:
    """Return the seconds a resolver may keep a record of this TTL; Cloudflare's 1 means automatic."""
    return _AUTOMATIC_TTL if ttl == 1 else ttl


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to make; `content` is in presentation form (a TXT quoted, other names without trailing dot)."""

    name: str
    type: str
    content: pulumi.Input[str]
    ttl: int
    priority: int | None = None


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
        "comment": MARK,
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


def no_second_record(hook_name: str, opts: pulumi.ResourceOptions | None) -> pulumi.ResourceHook:
    """Return the hook that looks at the live name before a record is created, and refuses to make a second one.

    The plan looked too, but only the engine knows that it is about to create: after a killed update a record of
    ours can stand there and not be in the state.
    """
    provider = provider_for(PACKAGE, opts)

    async def look(args: pulumi.ResourceHookArgs) -> None:
        wanted = args.new_inputs or {}
        zone_id, name = wanted.get("zoneId"), wanted.get("name")
        if not isinstance(zone_id, str) or not isinstance(name, str):
            return  # not known in this preview; the update looks again
        answer = await invoke(
            "cloudflare:index/getDnsRecords:getDnsRecords",
            {"zoneId": zone_id, "name": {"exact": name}, "maxItems": MOST_ITEMS},
            provider,
        )
        twins = [record for record in (_live(zone_id, found) for found in answer["results"]) if _clash(wanted, record)]
        if twins:
            raise FileExistsError(
                f"{', '.join(map(str, twins))} stands there already and is not in this stack's state (another stack's, "
                "or left by an interrupted update); set `adopt: true` to import it, or remove it"
            )

    return pulumi.ResourceHook(hook_name, look, pulumi.ResourceHookOptions(on_dry_run=True))


def _clash(wanted: Mapping[str, Any], live: LiveRecord) -> bool:
    """Whether a live record would be a twin of the one to be created, or stop it."""
    if wanted["type"] == "MX":
        return live.type == "MX" and live.content == wanted["content"]
    return "CNAME" in (live.type, wanted["type"]) or live.type == wanted["type"]
