"""The Cloudflare emulator answers as the API does: envelope, filters, refusals, quoting, faults."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.world.client import World
from sandbox.world.internet import TOKEN

if TYPE_CHECKING:
    from collections.abc import Iterator

ZONE = "example.com"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run one world for all tests here; each uses names of its own."""
    with World(tmp_path_factory.mktemp("cloudflare")) as running:
        yield running


class Api:
    """The API as it is on the wire."""

    def __init__(self, world: World) -> None:
        self._base = world.endpoints.cloudflare

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any], Any]:
        """Return status, document and headers of one call."""
        host, _, prefix = self._base.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=10)
        sent = {"Authorization": f"Bearer {TOKEN}", **headers}
        try:
            connection.request(method, f"/{prefix}{path}", json.dumps(body) if body is not None else None, sent)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers
        finally:
            connection.close()

    def zone(self, name: str = ZONE) -> str:
        """Return the path of a zone's records."""
        _, document, _ = self.ask("GET", f"/zones?name={name}")
        return f"/zones/{document['result'][0]['id']}/dns_records"

    def add(self, kind: str, name: str, content: str, **more: Any) -> dict[str, Any]:
        """Add a record that must be taken."""
        status, document, _ = self.ask("POST", self.zone(), record(kind, name, content, **more))
        assert 200 == status, document
        assert document["success"]
        return dict(document["result"])

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, int]:
        """Return status and code of a call that must be refused."""
        status, document, _ = self.ask(method, path, body)
        assert not document["success"]
        assert document["result"] is None
        return status, document["errors"][0]["code"]


def record(kind: str, name: str, content: str, **more: Any) -> dict[str, Any]:
    """Return a record as a client sends it."""
    return {"type": kind, "name": name, "content": content, "ttl": 300, **more}


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    """Return the API, and end faults afterwards."""
    yield Api(world)
    world.clear_faults()


def test_zones_are_found_by_name_and_paged(api: Api) -> None:
    """Every zone is listed; a name finds exactly one; pages say how many there are."""
    _, document, _ = api.ask("GET", "/zones?per_page=3&page=2")
    assert 3 == len(document["result"])
    assert {"page": 2, "per_page": 3, "count": 3, "total_count": 8, "total_pages": 3} == document["result_info"]
    _, found, _ = api.ask("GET", "/zones?name=xn--bcher-kva.example")
    assert ["xn--bcher-kva.example"] == [zone["name"] for zone in found["result"]]
    assert "active" == api.ask("GET", f"/zones/{found['result'][0]['id']}")[1]["result"]["status"]
    assert (404, 7003) == api.refused("GET", "/zones/nowhere/dns_records")


def test_a_record_is_kept_as_the_api_keeps_it(world: World, api: Api) -> None:
    """Names lose their trailing dot and case, dates come from the clock, PATCH keeps what it does not name."""
    made = api.add("CNAME", "Kept.Example.COM.", "target.example.net.", ttl=1, comment="ours")
    assert ("kept.example.com", "target.example.net", 1, "ours", False) == tuple(
        made[key] for key in ("name", "content", "ttl", "comment", "proxied")
    )
    world.advance(3600)
    path = f"{api.zone()}/{made['id']}"
    _, patched, _ = api.ask("PATCH", path, {"content": "other.example.net"})
    assert ("other.example.net", "ours", 1) == tuple(patched["result"][key] for key in ("content", "comment", "ttl"))
    assert made["created_on"] == patched["result"]["created_on"]
    assert made["modified_on"] < patched["result"]["modified_on"]
    _, put, _ = api.ask("PUT", path, record("CNAME", "kept.example.com", "other.example.net"))
    assert (None, 300) == (put["result"]["comment"], put["result"]["ttl"])
    assert put["result"] == api.ask("GET", path)[1]["result"]
    assert {"id": made["id"]} == api.ask("DELETE", path)[1]["result"]
    assert (404, 81044) == api.refused("GET", path)
    assert (404, 81044) == api.refused("DELETE", path)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ('"v=STSv1; id=1"', '"v=STSv1; id=1"'),
        ("v=STSv1; id=2", "v=STSv1; id=2"),
        (f'"{"a" * 255}" "b"', f'"{"a" * 255}" "b"'),
        (f'"{"a" * 256}"', f'"{"a" * 255}" "a"'),
        ("c" * 300, f'"{"c" * 255}" "{"c" * 45}"'),
    ],
)
def test_text_keeps_its_quotes_and_long_strings_are_split(api: Api, sent: str, kept: str) -> None:
    """What is sent comes back, except that a string over 255 bytes comes back in pieces."""
    assert kept == api.add("TXT", f"text{len(sent)}.example.com", sent)["content"]


def test_records_are_found_by_type_name_and_content(api: Api) -> None:
    """Filters are exact; one that the sandbox does not know is refused, not ignored."""
    for content in ("one", "two"):
        api.add("TXT", "found.example.com", content)
    api.add("A", "found.example.com", "192.0.2.1")
    path = api.zone()

    def contents(query: str) -> list[str]:
        return [found["content"] for found in api.ask("GET", f"{path}?{query}")[1]["result"]]

    assert ["one", "two", "192.0.2.1"] == contents("name=found.example.com")
    assert ["192.0.2.1"] == contents("name.exact=found.example.com&type=A")
    assert ["two"] == contents("name=found.example.com&content=two")
    assert ["two"] == contents("name=found.example.com&type=TXT&per_page=1&page=2")
    assert [] == contents("name=ound.example.com")
    assert (400, 1004) == api.refused("GET", f"{path}?search=found")


@pytest.mark.parametrize(
    ("standing", "added", "code"),
    [
        (("A", "192.0.2.1"), ("CNAME", "a.example.net"), 81053),
        (("CNAME", "a.example.net"), ("CNAME", "b.example.net"), 81053),
        (("CNAME", "a.example.net"), ("A", "192.0.2.1"), 81053),
        (("CNAME", "a.example.net"), ("TXT", "text"), 81054),
        (("MX", "mx.example.net"), ("MX", "mx.example.net"), 81058),
        (("TXT", "text"), ("TXT", "text"), 81058),
        (("TXT", "text"), ("TXT", "other"), None),
        (("A", "192.0.2.1"), ("A", "192.0.2.2"), None),
    ],
)
def test_what_clashes_is_refused(
    api: Api, standing: tuple[str, str], added: tuple[str, str], code: int | None, request: pytest.FixtureRequest
) -> None:
    """A host or a CNAME stands once, an identical record too; several TXT and addresses are allowed."""
    name = f"{request.node.callspec.id}.clash.example.com"
    api.add(standing[0], name, standing[1], priority=1)
    if code is None:
        api.add(added[0], name, added[1], priority=1)
    else:
        assert (400, code) == api.refused("POST", api.zone(), record(added[0], name, added[1], priority=1))


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (record("A", "bad.example.com", "192.0.2.999"), 9005),
        (record("AAAA", "bad.example.com", "192.0.2.1"), 9005),
        (record("MX", "bad.example.com", "192.0.2.1", priority=1), 9005),
        (record("MX", "bad.example.com", "mx.example.net"), 9102),
        (record("MX", "bad.example.com", "mx.example.net", priority=65536), 9102),
        (record("TXT", "bad.example.com", ""), 9005),
        (record("TXT", "bad.example.com", "x" * 2049), 9005),
        (record("TXT", "bad.example.com", "x", ttl=59), 9021),
        (record("TXT", "bad.example.com", "x", ttl=86401), 9021),
        (record("TXT", "bad.example.com", "x", comment="x" * 101), 9313),
        (record("TXT", "bad.example.com", "x", tags=["a:b"]), 9301),
        (record("TXT", "bad.example.com", "x", proxied=True), 9004),
        (["no object"], 9207),
    ],
)
def test_what_is_not_valid_is_refused(api: Api, sent: Any, code: int) -> None:
    """Wrong values are refused with a code, and nothing is kept."""
    assert (400, code) == api.refused("POST", api.zone(), sent)
    assert [] == api.ask("GET", f"{api.zone()}?name=bad.example.com")[1]["result"]


def test_records_of_email_routing_are_locked(api: Api) -> None:
    """The API shows them, and refuses to change or delete them."""
    path = api.zone("routing.example")
    held = api.ask("GET", f"{path}?type=MX")[1]["result"]
    assert 3 == len(held)
    for method, body in (("DELETE", None), ("PATCH", {"priority": 1}), ("PUT", held[0])):
        assert (400, 890) == api.refused(method, f"{path}/{held[0]['id']}", body)
    assert held == api.ask("GET", f"{path}?type=MX")[1]["result"]


def test_a_batch_does_everything_or_nothing(api: Api) -> None:
    """Deletes come first, so a CNAME can make way for a TXT in one call; one refusal undoes all."""
    old = api.add("CNAME", "batch.example.com", "a.example.net")
    path = f"{api.zone()}/batch"
    wrong = {"deletes": [{"id": old["id"]}], "posts": [record("TXT", "batch.example.com", "x", ttl=5)]}
    assert (400, 9021) == api.refused("POST", path, wrong)
    assert old == api.ask("GET", f"{api.zone()}/{old['id']}")[1]["result"]
    right = {"deletes": [{"id": old["id"]}], "posts": [record("TXT", "batch.example.com", "x")]}
    _, document, _ = api.ask("POST", path, right)
    assert ["x"] == [made["content"] for made in document["result"]["posts"]]
    (left,) = api.ask("GET", f"{api.zone()}?name=batch.example.com")[1]["result"]
    assert "TXT" == left["type"]


def test_who_may_not_is_told_so(world: World, api: Api) -> None:
    """A wrong token and one without the permission are 403, each with its code."""
    status, document, _ = api.ask("GET", "/zones", Authorization="Bearer wrong")
    assert (403, 9109) == (status, document["errors"][0]["code"])
    world.fault("api", "cloudflare GET /zones/.*/dns_records", "denied")
    assert (403, 10000) == api.refused("GET", api.zone())


@pytest.mark.parametrize("server", ["aws", "cloudflare", "control"])
def test_a_page_in_a_browser_gets_nothing(world: World, server: str) -> None:
    """A request whose Host is no loopback address is refused by each HTTP server, whatever it asks."""
    host = getattr(world.endpoints, server).removeprefix("http://").partition("/")[0]
    for shown, refused in (("evil.example", True), (host, False)):
        connection = http.client.HTTPConnection(host, timeout=10)
        sent = {"Host": shown, "Authorization": f"Bearer {TOKEN}"}
        connection.request("GET", "/client/v4/zones", headers=sent)
        answer = connection.getresponse()
        assert refused == (answer.status == 403 and not answer.read())
        connection.close()


def test_throttling_comes_with_retry_after(world: World, api: Api) -> None:
    """429 says when to come again, and the fault ends as asked."""
    world.fault("api", "cloudflare POST", "throttle", times=1)
    status, document, headers = api.ask("POST", api.zone(), record("TXT", "slow.example.com", "x"))
    assert (429, False, "1") == (status, document["success"], headers["Retry-After"])
    api.add("TXT", "slow.example.com", "x")


@pytest.mark.parametrize(("kind", "kept"), [("drop", 0), ("drop-after", 1)])
def test_a_connection_breaks_before_or_after_the_work(world: World, api: Api, kind: str, kept: int) -> None:
    """The answer never arrives; only a look tells whether the record was made."""
    path = api.zone()
    world.fault("api", "cloudflare POST", kind, times=1)
    with pytest.raises(http.client.IncompleteRead):
        api.ask("POST", path, record("TXT", f"{kind}.example.com", "x"))
    assert kept == len(api.ask("GET", f"{path}?name={kind}.example.com")[1]["result"])
