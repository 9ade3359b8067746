"""`mta-sts adopt` in the sandbox: a hosted service, and a web server of one's own, move in unnoticed by senders."""

from __future__ import annotations

import datetime as dt
import http.server
import json
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pulumi_mta_sts.outside import outside, use

from mta_sts.cli import main
from mta_sts.fetch import WELL_KNOWN, fetch_policy, tls_context
from mta_sts.sender import Outcome, Sender
from sandbox import deployment
from sandbox.check import problems
from sandbox.senders import TEMPERAMENTS, WorldMail, WorldResolver
from sandbox.world.authority import Authority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandbox.deployment import Deployment
    from sandbox.world.client import World
    from tests.sandbox.conftest import Cloudflare

DOMAIN = "gmail-new.example"
HOST = f"mta-sts.{DOMAIN}"
ELSEWHERE = "workspace.example"
FORMER_HOSTS = (HOST, f"mta-sts-before.{DOMAIN}", f"hosted.{ELSEWHERE}")
BODY = "version: STSv1\r\nmode: enforce\r\nmx: smtp.google.com\r\nmax_age: 604800\r\n"
TXT = "v=STSv1; id=20240101T000000;"
RUA = "v=TLSRPTv1; rua=mailto:d@reports.workspace.example"


LANGUAGE = """#!{python}
import grpc, threading
from concurrent.futures import ThreadPoolExecutor
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2_grpc
server = grpc.server(ThreadPoolExecutor())
language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageServer(lambda: None), server)
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
threading.Event().wait()
"""
"""A language host that runs no program: `pulumi import` asks for one, and needs nothing of it."""


class OldHost:
    """Somebody else's policy host on loopback, with a certificate that the world trusts."""

    def __init__(self, world: World) -> None:
        self.body = BODY
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if self.path == WELL_KNOWN else 404)
                self.send_header("Content-Type", "text/plain")
                self.end_headers()
                self.wfile.write(outer.body.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        authority = Authority(world.folder / "ca", dt.datetime.now(dt.UTC))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = authority.context((HOST,)).wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def old_host(world: World) -> Iterator[OldHost]:
    """Run an old host as long as the test."""
    running = OldHost(world)
    yield running
    running.stop()


@pytest.fixture
def adopt(
    world: World, old_host: OldHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any]]:
    """Return a function that runs the command in the world and gives its exit code and document."""
    dns = world.endpoints.dns
    ports = tmp_path / "ports.json"
    ports.write_text(json.dumps({f"{HOST}:443": {"127.0.0.1": old_host.port}}), encoding="utf-8")
    reach = ["--resolver", f"{dns['address']}:{dns['port']}", "--ca-file", world.endpoints.ca_file]

    def run(*more: str, domain: str = DOMAIN, token: bool = True) -> tuple[int, Any]:
        for name, value in world.environment().items():
            os.environ[name] = value if token or not name.startswith("CLOUDFLARE") else ""
        code = main(["adopt", domain, *reach, "--port-map", str(ports), *(more or ("--json",))])
        out = capsys.readouterr().out
        return code, out if more else json.loads(out)

    return run


def hosted(cloudflare: Cloudflare) -> None:
    """Let a hosted service run MTA-STS behind CNAMEs at all three names."""
    for label, value in (("_mta-sts", TXT), ("_smtp._tls", RUA)):
        cloudflare.add(ELSEWHERE, "TXT", f"{label}.hosted.{ELSEWHERE}", f'"{value}"')
        cloudflare.add(DOMAIN, "CNAME", f"{label}.{DOMAIN}", f"{label}.hosted.{ELSEWHERE}", ttl=3600)
    cloudflare.add(ELSEWHERE, "A", f"hosted.{ELSEWHERE}", "127.0.0.1")
    cloudflare.add(DOMAIN, "CNAME", HOST, f"hosted.{ELSEWHERE}", ttl=1800)


def own_server(cloudflare: Cloudflare) -> None:
    """Let the domain publish from a web server of its own."""
    cloudflare.add(DOMAIN, "TXT", f"_mta-sts.{DOMAIN}", f'"{TXT}"')
    cloudflare.add(DOMAIN, "TXT", f"_smtp._tls.{DOMAIN}", f'"{RUA}"')
    cloudflare.add(DOMAIN, "A", HOST, "127.0.0.1", ttl=7200)


def senders_of(world: World, cloudflare: Cloudflare, old_host: OldHost) -> list[Sender]:
    """Return a sender of every temperament, each asking the host that the name leads to."""
    context = tls_context(Path(world.endpoints.ca_file))
    resolver = WorldResolver(world)

    def fetch(domain: str) -> bytes:
        (cname,) = [one for one in cloudflare.records(domain, HOST) if one["type"] != "TXT"]
        moved = cname["content"].endswith("cloudfront.net")
        port = world.endpoints.edge["127.0.0.1"] if moved else old_host.port
        return fetch_policy(domain, "127.0.0.1", port, context=context).body

    passes = WorldMail(world, resolver).passes
    return [
        Sender(temperament, clock=world.now, resolver=resolver, fetch=fetch, deliverable=passes)
        for temperament in TEMPERAMENTS.values()
    ]


def calls(found: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the API calls that a plan asks for."""
    made = [step["call"] for step in found["steps"] if step["call"]]
    return [(call["method"], call["path"], call["body"]) for call in made]


@pytest.fixture
def seen_by_the_plan(monkeypatch: pytest.MonkeyPatch, old_host: OldHost) -> OldHost:
    """Let the plan, too, find the old host under the policy host's name."""
    in_the_world = deployment.use_outside

    def use_outside(world: World) -> None:
        in_the_world(world)
        edge = outside().addresses

        async def addresses(name: str) -> list[tuple[str, int]]:
            return [("127.0.0.1", old_host.port)] if name in FORMER_HOSTS else await edge(name)

        use(replace(outside(), addresses=addresses))

    monkeypatch.setattr(deployment, "use_outside", use_outside)
    return old_host


@pytest.mark.engine
def test_the_import_file_is_one_that_the_engine_takes(
    *,
    world: World,
    deploy: Callable[..., Deployment],
    cloudflare: Cloudflare,
    adopt: Callable[..., tuple[int, Any]],
    seen_by_the_plan: OldHost,
    tmp_path: Path,
) -> None:
    """As printed, for the engine's own `import`; the update with `adopt` then finds its records and makes no others."""
    own_server(cloudflare)
    (call,) = calls(adopt()[1])
    cloudflare.call(*call)
    _, found = adopt()
    file = tmp_path / "import.json"
    file.write_text(json.dumps(found["import"]), encoding="utf-8")
    language = tmp_path / "bin" / "pulumi-language-python"
    language.parent.mkdir()
    language.write_text(LANGUAGE.format(python=sys.executable), encoding="utf-8")
    language.chmod(0o755)
    stack = deploy(found["stack"])
    environment = os.environ | {"PATH": f"{language.parent}{os.pathsep}{os.environ['PATH']}"}
    options = ("--file", str(file), "--protect=false", "--generate-code=false", "--skip-preview", "--yes")
    subprocess.run(
        [world.folder / "engine" / "bin" / "pulumi", "import", *options],
        cwd=world.folder / "work",
        env=environment,
        check=True,
        capture_output=True,
    )
    records = {name: cloudflare.records(DOMAIN, f"{name}.{DOMAIN}") for name in ("_mta-sts", "mta-sts", "_smtp._tls")}
    updated = stack.up()
    assert updated.ok, updated.errors
    touched = {(step.op, step.name) for step in updated.changes if step.type.endswith("DnsRecord")}
    assert {("create", f"policy-host-validation-{DOMAIN}")} == touched
    assert records == {name: cloudflare.records(DOMAIN, f"{name}.{DOMAIN}") for name in records}


@pytest.mark.engine
def test_adopting_what_the_stack_has_already_changes_nothing(
    world: World, deploy: Callable[..., Deployment], cloudflare: Cloudflare
) -> None:
    """A record in the state is not imported again: the engine would replace it, and delete the live one."""
    plain = {"domain": DOMAIN, "mx": ["smtp.google.com"], "reports": "mailto:a@b.example"}
    assert deploy(plain).up().ok
    (record,) = cloudflare.records(DOMAIN, f"_mta-sts.{DOMAIN}")
    path = f"/zones/{cloudflare.zone(DOMAIN)}/dns_records/{record['id']}"
    for comment in (record["comment"], "edited by hand"):
        cloudflare.call("PATCH", path, {"comment": comment})
        adopted = deploy(plain | {"adopt": True}).up()
        assert adopted.ok, adopted.errors
        assert [] == [step.op for step in adopted.changes if "replace" in step.op or step.op in ("import", "delete")]
        assert [record["id"]] == [one["id"] for one in cloudflare.records(DOMAIN, f"_mta-sts.{DOMAIN}")]
    assert deploy(plain | {"adopt": True}).up().ok
    assert [] == problems(world, DOMAIN)


@pytest.mark.engine
@pytest.mark.parametrize("publish", [hosted, own_server])
def test_a_domain_in_enforce_moves_in_and_no_sender_notices(
    *,
    world: World,
    deploy: Callable[..., Deployment],
    cloudflare: Cloudflare,
    seen_by_the_plan: OldHost,
    adopt: Callable[..., tuple[int, Any]],
    publish: Callable[[Cloudflare], None],
) -> None:
    """The call, the entry and two updates as printed: enforce all the way, without evidence, and no mail refused."""
    publish(cloudflare)
    senders = senders_of(world, cloudflare, seen_by_the_plan)

    def deliver() -> set[tuple[str, str]]:
        return {(one.outcome, one.mode) for one in (sender.deliver(DOMAIN) for sender in senders)}

    unmoved = {(Outcome.DELIVERED, "enforce")}
    assert unmoved == deliver()
    code, found = adopt()
    assert (0, []) == (code, [one for one in found["findings"] if one["severity"] == "error"])
    (call,) = calls(found)
    cloudflare.call(*call)
    assert unmoved == deliver()
    assert [TXT] == WorldResolver(world).txt(f"_mta-sts.{DOMAIN}")
    assert [RUA] == WorldResolver(world).txt(f"_smtp._tls.{DOMAIN}")

    code, found = adopt()
    assert 0 == code
    assert [] == calls(found)
    entry = found["stack"]
    assert "acknowledge" not in entry
    first = deploy(entry).up()
    assert first.ok, first.errors
    assert unmoved == deliver()
    assert [TXT] == WorldResolver(world).txt(f"_mta-sts.{DOMAIN}")

    second = deploy(entry).up()
    assert second.ok, second.errors
    assert [found["record"]["then"]] == WorldResolver(world).txt(f"_mta-sts.{DOMAIN}")
    assert unmoved == deliver()
    assert [] == problems(world, DOMAIN)
    assert deploy(entry).preview().changes == []
    world.advance(8 * 86_400)
    assert unmoved == deliver()
    assert deploy({key: value for key, value in entry.items() if key not in ("history", "adopt")}).preview().ok


@pytest.mark.engine
def test_an_old_host_that_serves_another_policy_is_waited_out(
    world: World,
    deploy: Callable[..., Deployment],
    cloudflare: Cloudflare,
    seen_by_the_plan: OldHost,
    adopt: Callable[..., tuple[int, Any]],
) -> None:
    """Whoever is still led there would keep its policy under the new id: the old TTL counts, also after a failure."""
    hosted(cloudflare)
    (call,) = calls(adopt()[1])
    cloudflare.call(*call)
    entry = adopt()[1]["stack"]
    assert deploy(entry).up().ok
    seen_by_the_plan.body = BODY.replace("604800", "700000")

    moved = deploy(entry).up()
    assert "caches may still lead to the former policy host" in moved.errors
    deploy(entry).up()
    assert [TXT] == WorldResolver(world).txt(f"_mta-sts.{DOMAIN}")
    (record,) = cloudflare.records(DOMAIN, HOST)
    assert record["content"].endswith("cloudfront.net")
    assert 1800 == record["ttl"]

    world.advance(1800)
    published = deploy(entry).up()
    assert published.ok, published.errors
    assert [TXT] != WorldResolver(world).txt(f"_mta-sts.{DOMAIN}")
    assert 300 == cloudflare.records(DOMAIN, HOST)[0]["ttl"]


def test_both_forms_of_an_international_domain_are_one(adopt: Callable[..., tuple[int, Any]]) -> None:
    """Published as A-labels, whatever was typed."""
    found = [adopt(domain=domain)[1] for domain in ("bücher.example", "XN--BCHER-KVA.example.")]
    assert {"xn--bcher-kva.example"} == {one["domain"] for one in found}
    assert found[0]["stack"] == found[1]["stack"]


def test_dns_that_does_not_answer_gives_no_plan(
    world: World, cloudflare: Cloudflare, adopt: Callable[..., tuple[int, Any]]
) -> None:
    """A failure at one name, and a CNAME that leads in a circle, are named; nothing is taken for absent."""
    own_server(cloudflare)
    world.fault("dns", f"_smtp._tls.{DOMAIN}", "servfail")
    code, found = adopt()
    assert (1, None, []) == (code, found["stack"], found["steps"])
    assert [("dns-unreadable", f"_smtp._tls.{DOMAIN}")] == [(one["rule"], one["path"]) for one in found["findings"]]

    world.clear_faults()
    cloudflare.add("m365.example", "CNAME", "mta-sts.m365.example", "a.m365.example")
    cloudflare.add("m365.example", "CNAME", "a.m365.example", "mta-sts.m365.example")
    code, found = adopt(domain="m365.example")
    assert 1 == code
    assert [("dns-unreadable", "mta-sts.m365.example")] == [(one["rule"], one["path"]) for one in found["findings"]]
    assert ["a.m365.example"] == found["today"]["host"]["cname"]


def test_without_a_token_ids_are_placeholders_and_the_rest_is_the_same(
    cloudflare: Cloudflare, adopt: Callable[..., tuple[int, Any]]
) -> None:
    """DNS and HTTPS need no credentials."""
    hosted(cloudflare)
    (_, with_token), (code, without) = adopt(), adopt(token=False)
    assert 0 == code
    assert "RECORD_ID_OF" in json.dumps(calls(without))
    assert "RECORD_ID_OF" not in json.dumps(calls(with_token))
    assert calls(with_token)[0][2]["posts"] == calls(without)[0][2]["posts"]
    entries = [one["stack"] | {"history": None} for one in (with_token, without)]
    assert entries[0] == entries[1]


def test_a_token_that_may_not_read_is_said_and_stops_nothing(
    world: World, cloudflare: Cloudflare, adopt: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    """The text says why ids are missing, and is written whole."""
    own_server(cloudflare)
    world.fault("api", "cloudflare GET .*dns_records", "denied")
    file = tmp_path / "adopt.md"
    assert (0, "") == adopt("--output", str(file))
    assert "Cloudflare answers 403" in file.read_text(encoding="utf-8")
    assert [file] == list(tmp_path.glob("*adopt*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["not a domain"], "'not a domain'"),
        (["postmaster@example.com"], "e-mail address"),
        (["https://example.com/"], "URL"),
        (["localhost"], "single label"),
        (["192.0.2.1"], "IP address"),
        (["example.com", "--resolver", "dns.example"], "--resolver"),
        (["example.com", "--ca-file", "missing.pem"], "missing.pem"),
        (["example.com", "--port-map", "missing.json"], "missing.json"),
    ],
)
def test_a_wrong_call_is_named_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], words: str
) -> None:
    """64, one line, and no file."""
    assert 64 == main(["adopt", *arguments, "-o", str(tmp_path / "out")])
    out, err = capsys.readouterr()
    assert "" == out
    assert words in err
    assert 1 == err.count("\n")
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(
    cloudflare: Cloudflare, adopt: Callable[..., tuple[int, Any]], tmp_path: Path
) -> None:
    """The file can't be written, so nothing is."""
    own_server(cloudflare)
    assert (64, "") == adopt("-o", str(tmp_path / "missing" / "out"))
