"""The `cloudflare` provider of the sandbox: DNS records and zones over Cloudflare's API v4."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import urllib3
from pulumi.provider.experimental import provider as engine

from sandbox.providers.emulated import EmulatedProvider, Function, Kind, loopback, serve
from sandbox.providers.sdk_types import SdkType, load_lightly
from sandbox.providers.shapes import Member, Properties, Shape, set_of

_ATTEMPTS = 3  # cloudflare-go internal/requestconfig: two retries, whatever the method, also of a broken connection
_PAUSE = 0.5  # seconds, doubled each time
_POOL = urllib3.PoolManager(retries=False)
_SETTINGS: dict[str, str] = {}


class CloudflareError(RuntimeError):
    """What the API refused, in words; `status` is the HTTP status, 0 where there was no answer."""

    def __init__(self, method: str, path: str, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"Cloudflare {method} {path}: {reason}")


def call(method: str, path: str, body: Properties | None = None, query: dict[str, Any] | None = None) -> Any:
    """Call the API and return its whole answer; raises CloudflareError with operation, status, code and message."""
    base = _SETTINGS.get("baseUrl") or os.environ.get("CLOUDFLARE_BASE_URL", "")
    url = f"{loopback(base, 'CLOUDFLARE_BASE_URL').rstrip('/')}{path}"
    token = _SETTINGS.get("apiToken") or os.environ.get("CLOUDFLARE_API_TOKEN", "")
    status, reason, pause = 0, "", 0.0
    for attempt in range(_ATTEMPTS):
        time.sleep(pause)
        pause = _PAUSE * 2**attempt
        try:
            headers = {"Authorization": f"Bearer {token}"}
            answer = _POOL.request(method, url, json=body, fields=query, headers=headers, timeout=30)
            status, document = answer.status, answer.json()
        except (urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
            reason = f"the connection broke ({error.__class__.__name__})"
            continue
        if document["success"]:
            return document
        errors = "; ".join(f"{error['message']} ({error['code']})" for error in document["errors"])
        reason = f"{status} {errors}"
        if status not in (408, 409, 429) and status < 500:  # noqa: PLR2004  HTTP statuses
            break
        pause = float(answer.headers.get("retry-after") or pause)
    raise CloudflareError(method, path, status, reason)


def _lower_case_target(theirs: Properties) -> Properties:
    # internal/services/dns_record/custom.go: the target of a CNAME differs only by more than its case.
    content = theirs.get("content")
    return (
        theirs | {"content": content.lower()} if theirs.get("type") == "CNAME" and isinstance(content, str) else theirs
    )


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


_SETTINGS_MEMBERS = {_camel(name): Member(name) for name in ("flatten_cname", "ipv4_only", "ipv6_only")}
_RECORD = Shape(
    {
        "zoneId": Member("zone_id"),
        "name": Member("name"),
        "type": Member("type"),
        "content": Member("content"),
        "ttl": Member("ttl"),
        "priority": Member("priority"),
        "proxied": Member("proxied", default=False),
        "comment": Member("comment"),
        "tags": Member("tags", set_of()),
        "settings": Member("settings", Shape(_SETTINGS_MEMBERS)),
    },
    before_decode=_lower_case_target,
)


def _create(inputs: Properties) -> str:
    if inputs.get("proxied") and inputs["ttl"] != 1:
        raise RuntimeError("ttl must be set to 1 when `proxied` is true")
    body = _RECORD.encode(inputs)
    return str(call("POST", f"/zones/{body.pop('zone_id')}/dns_records", body)["result"]["id"])


def _read(resource_id: str, held: Properties) -> Properties | None:
    # An import names the record as <zone_id>/<dns_record_id>.
    zone_id, _, record_id = resource_id.rpartition("/")
    zone_id = zone_id or held["zoneId"]
    try:
        result = call("GET", f"/zones/{zone_id}/dns_records/{record_id}")["result"]
    except CloudflareError as error:
        if error.status == 404:  # noqa: PLR2004
            return None
        raise
    facts = ("created_on", "modified_on", "proxiable", "comment_modified_on", "tags_modified_on")
    return {
        "id": record_id,
        **_RECORD.decode(result | {"zone_id": zone_id}),
        "content": result["content"],
        "meta": json.dumps(result["meta"]),
        **{_camel(name): result[name] for name in facts if name in result},
    }


def _path(resource_id: str, state: Properties) -> str:
    return f"/zones/{state['zoneId']}/dns_records/{resource_id.rpartition('/')[2]}"


def _update(resource_id: str, old: Properties, new: Properties) -> None:
    body = _RECORD.encode(new)
    body.pop("zone_id")
    call("PUT", _path(resource_id, old), body)


def _delete(resource_id: str, state: Properties) -> None:
    call("DELETE", _path(resource_id, state))  # no tolerance for a record that is gone, as in the real provider


KINDS = {
    "cloudflare:index/dnsRecord:DnsRecord": Kind(
        sdk=SdkType("pulumi_cloudflare.dns_record", "DnsRecord"),
        source="terraform-provider-cloudflare internal/services/dns_record/schema.go: zone_id, type RequiresReplace; "
        "custom.go ModifyPlan: modified_on",
        shape=_RECORD,
        replaces=frozenset(("zoneId", "type")),
        create=_create,
        read=_read,
        update=_update,
        delete=_delete,
        changing=frozenset(("modifiedOn",)),
    )
}


def _all(path: str, query: dict[str, Any], most: int) -> list[Any]:
    items: list[Any] = []
    page = 1
    while True:
        answer = call("GET", path, query={**query, "page": page, "per_page": 100})
        items += answer["result"]
        if page >= answer["result_info"]["total_pages"] or len(items) >= most:
            return items[:most]
        page += 1


def _zones(arguments: Properties) -> Properties:
    query = {name: arguments[name] for name in ("name", "status") if arguments.get(name)}
    found = _all("/zones", query, int(arguments.get("maxItems") or 1000))
    return {
        **arguments,
        "results": [{"id": zone["id"], "name": zone["name"], "status": zone["status"]} for zone in found],
    }


def _zone(arguments: Properties) -> Properties:
    zone_id = arguments.get("zoneId")
    if zone_id:
        found = [call("GET", f"/zones/{zone_id}")["result"]]
    else:
        found = _all("/zones", {"name": arguments["filter"]["name"]}, 2)
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} zones match {arguments['filter']}; one is wanted")
    return {**arguments, "zoneId": found[0]["id"], **{name: found[0][name] for name in ("id", "name", "status")}}


_RECORD_FACTS = (
    "id", "name", "type", "content", "ttl", "priority", "proxied", "proxiable", "comment", "tags", "created_on",
    "modified_on",
)  # fmt: skip


def _records(arguments: Properties) -> Properties:
    query = {"name.exact": (arguments.get("name") or {}).get("exact"), "type": arguments.get("type")}
    path = f"/zones/{arguments['zoneId']}/dns_records"
    found = _all(path, {key: value for key, value in query.items() if value}, int(arguments.get("maxItems") or 1000))
    results = [
        {_camel(name): record.get(name) for name in _RECORD_FACTS} | {"meta": json.dumps(record["meta"])}
        for record in found
    ]
    return {**arguments, "results": results}


FUNCTIONS = {
    "cloudflare:index/getZones:getZones": Function(arguments=frozenset(("name", "status", "maxItems")), call=_zones),
    "cloudflare:index/getZone:getZone": Function(
        arguments=frozenset(("zoneId", "filter.name", "filter.match")), call=_zone
    ),
    "cloudflare:index/getDnsRecords:getDnsRecords": Function(
        arguments=frozenset(("zoneId", "type", "name.exact", "maxItems")), call=_records
    ),
}


class CloudflareProvider(EmulatedProvider):
    """Takes token and address from its configuration, else from the standard variables."""

    settings = frozenset(("apiToken", "baseUrl"))

    async def configure(self, request: engine.ConfigureRequest) -> engine.ConfigureResponse:
        """Take the configuration; raises RuntimeError where there is no token."""
        _SETTINGS.update({name: str(value.value) for name, value in request.args.items() if name in self.settings})
        if not (_SETTINGS.get("apiToken") or os.environ.get("CLOUDFLARE_API_TOKEN")):
            raise RuntimeError("no Cloudflare token: set CLOUDFLARE_API_TOKEN or cloudflare:apiToken")
        return engine.ConfigureResponse(supports_preview=True)


if __name__ == "__main__":
    load_lightly("pulumi_cloudflare")
    serve(CloudflareProvider(KINDS, FUNCTIONS), "6.23.1")
