"""The `cloudflare` provider of the sandbox: DNS records and zones over Cloudflare's API v4."""

from __future__ import annotations

import json
import os
import time
from typing import Any

import urllib3

from sandbox.providers.emulated import EmulatedProvider, Kind, Properties, loopback, serve
from sandbox.providers.sdk_types import SdkType

RECORD = "cloudflare:index/dnsRecord:DnsRecord"

_FIELDS = ("name", "type", "content", "ttl", "priority", "proxied", "comment", "tags", "settings")
_COMPUTED = frozenset(("createdOn", "modifiedOn", "proxiable", "meta", "commentModifiedOn", "tagsModifiedOn"))
_RETRIES = 4  # as the real provider's client does for 429 and 5xx
_PAUSE = 0.05
_POOL = urllib3.PoolManager(retries=False)


def call(method: str, path: str, body: Properties | None = None, query: dict[str, Any] | None = None) -> Any:
    """Call the API and return its whole answer; raises RuntimeError with operation, code and message."""
    url = f"{loopback('CLOUDFLARE_BASE_URL').rstrip('/')}{path}"
    headers = {"Authorization": f"Bearer {os.environ.get('CLOUDFLARE_API_TOKEN', '')}"}
    reason = ""
    for attempt in range(_RETRIES):
        try:
            answer = _POOL.request(method, url, json=body, fields=query, headers=headers, timeout=30)
            document = answer.json()
        except (urllib3.exceptions.HTTPError, json.JSONDecodeError) as error:
            reason = f"the connection broke ({error.__class__.__name__})"
            if method != "GET":
                break  # it may have been done: trying again could make a twin
            continue
        if document["success"]:
            return document
        errors = "; ".join(f"{error['message']} ({error['code']})" for error in document["errors"])
        reason = f"{answer.status} {errors}"
        if answer.status != 429 and answer.status < 500:  # noqa: PLR2004
            break
        time.sleep(_PAUSE * 2**attempt)
    raise RuntimeError(f"Cloudflare {method} {path}: {reason}")


def _body(inputs: Properties) -> Properties:
    return {name: inputs[name] for name in _FIELDS if inputs.get(name) is not None}


def _computed(result: Properties) -> Properties:
    return {
        "createdOn": result["created_on"],
        "modifiedOn": result["modified_on"],
        "proxiable": result["proxiable"],
        "meta": str(result["meta"]),
    }


def _create(inputs: Properties) -> tuple[str, Properties]:
    result = call("POST", f"/zones/{inputs['zoneId']}/dns_records", _body(inputs))["result"]
    return result["id"], _computed(result)


def _read(resource_id: str, held: Properties) -> Properties | None:
    # An import names the record as <zone_id>/<dns_record_id>.
    zone_id, _, record_id = resource_id.rpartition("/")
    zone_id = zone_id or held["zoneId"]
    try:
        result = call("GET", f"/zones/{zone_id}/dns_records/{record_id}")["result"]
    except RuntimeError as error:
        if "404" in str(error):
            return None
        raise
    kept = {name: result.get(name) for name in _FIELDS if name != "settings"}
    if not kept["tags"]:
        kept.pop("tags")
    return {"id": record_id, "zoneId": zone_id, **kept, **_computed(result)}


def _path(resource_id: str, state: Properties) -> str:
    return f"/zones/{state['zoneId']}/dns_records/{resource_id.rpartition('/')[2]}"


def _update(resource_id: str, old: Properties, new: Properties) -> Properties:
    return _computed(call("PUT", _path(resource_id, old), _body(new))["result"])


def _delete(resource_id: str, state: Properties) -> None:
    call("DELETE", _path(resource_id, state))  # no tolerance for a record that is gone, as in the real provider


KINDS = {
    RECORD: Kind(
        SdkType("pulumi_cloudflare.dns_record", "DnsRecord"),
        source="terraform-provider-cloudflare internal/services/dns_record/schema.go: RequiresReplace",
        replaces=frozenset(("zoneId", "type")),
        create=_create,
        read=_read,
        update=_update,
        delete=_delete,
        computed=_COMPUTED,
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
    query = {"name": arguments["name"]} if arguments.get("name") else {}
    found = _all("/zones", query, int(arguments.get("maxItems") or 1000))
    return {"results": [{"id": zone["id"], "name": zone["name"], "status": zone["status"]} for zone in found]}


def _records(arguments: Properties) -> Properties:
    name = (arguments.get("name") or {}).get("exact")
    query = {"name.exact": name, "type": arguments.get("type")}
    path = f"/zones/{arguments['zoneId']}/dns_records"
    found = _all(path, {key: value for key, value in query.items() if value}, int(arguments.get("maxItems") or 1000))
    fields = ("id", "name", "type", "content", "ttl", "priority", "proxied", "comment")
    results = [
        {key: record.get(key) for key in fields}
        | {"modifiedOn": record["modified_on"], "createdOn": record["created_on"]}
        for record in found
    ]
    return {"zoneId": arguments["zoneId"], "results": results}


FUNCTIONS = {
    "cloudflare:index/getZones:getZones": _zones,
    "cloudflare:index/getDnsRecords:getDnsRecords": _records,
}


if __name__ == "__main__":
    serve(EmulatedProvider(KINDS, FUNCTIONS), "6.23.1")
