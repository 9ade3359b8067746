"""What the components meet in tests: provider functions, resources and S3, all answered from memory.

These mocks prove which resources are asked for, with which inputs, after which others. They prove nothing about
updates, deletions, hooks or the clouds themselves; the engine's tests do.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import boto3
import grpc
import pulumi
from pulumi.runtime import mocks, rpc
from pulumi_mta_sts import aws_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

ACCOUNT = "111111111111"
TARGET = "d111111abcdef8.cloudfront.net"
OWN = "Managed by pulumi-mta-sts; a change by hand can stop mail."

ZONES = "cloudflare:index/getZones:getZones"
RECORDS = "cloudflare:index/getDnsRecords:getDnsRecords"
CALLER = "aws:index/getCallerIdentity:getCallerIdentity"
STATE = "pulumi:pulumi:readStackResourceOutputs"

OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"


class Answer(grpc.RpcError):
    """An error as the engine hands it on from a provider."""

    def __init__(self, details: str) -> None:
        super().__init__(details)
        self._details = details

    def code(self) -> grpc.StatusCode:
        """Return the status that a provider's own errors have."""
        return grpc.StatusCode.UNKNOWN

    def details(self) -> str:
        """Return the provider's words."""
        return self._details


@dataclass
class World(mocks.Mocks):
    """Zones, records, served policies and the account; `failing` maps a function (or `s3`, `sts`) to its error.

    The error of a function is what it `says`, for one `zone` or all, always or `times` 1.
    `state` are the outputs by URN that the stack's state holds; `mail_hosts` what is wrong with MX hosts: cause and
    words, or nothing where a host has no address.
    """

    zones: dict[str, str] = field(default_factory=lambda: {"zone-1": "example.com"})
    statuses: dict[str, str] = field(default_factory=dict)
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    versions: dict[str, tuple[str, dict[str, str] | None]] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    written: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: dict[str, dict[str, Any]] = field(default_factory=dict)
    account: str = ACCOUNT
    own_account: str = ACCOUNT
    failing: dict[str, Any] = field(default_factory=dict)
    mail_hosts: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def has(self, kind: str, name: str, content: str, *, zone: str = "zone-1", **more: Any) -> dict[str, Any]:
        """Add a live record, made by somebody else if nothing is said."""
        number = len(self.records.setdefault(zone, [])) + 1
        record = {"id": f"{zone}-record-{number}", "name": name, "type": kind, "content": content, "ttl": 300.0, **more}
        self.records[zone].append(record)
        return record

    def certified(self, parent: str, name: str, names: list[str], *, issued: bool = True) -> None:
        """Let the stack's state hold a certificate, and that it was seen issued."""
        urn = f"urn:pulumi:test::mta-sts::{parent}$aws:acm"
        arn = f"arn:{name}"
        self.state[f"{urn}/certificate:Certificate::{name}"] = {
            "arn": arn,
            "domainName": names[0],
            "subjectAlternativeNames": names,
        }
        if issued:
            validation = f"{urn}/certificateValidation:CertificateValidation::{name}-validation"
            self.state[validation] = {"certificateArn": arn}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        """Answer a provider function."""
        with self.lock:
            self.calls.append((args.token, args.args))
        failing = self.failing.get(args.token)
        if failing is not None and failing.get("zone") in (None, args.args.get("zoneId")):
            if failing.get("times") == 1:
                del self.failing[args.token]
            raise Answer(failing["says"])
        if args.token == ZONES:
            results = [
                {"id": zone_id, "name": name, "status": self.statuses.get(zone_id, "active")}
                for zone_id, name in self.zones.items()
            ]
            return {"results": results}
        if args.token == RECORDS:
            return {"results": self.records.get(args.args["zoneId"], [])}
        if args.token == STATE:
            return {"outputs": {urn: {"outputs": outputs} for urn, outputs in self.state.items()}}
        assert args.token == CALLER
        return {"accountId": self.account}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Answer a resource's creation with the outputs that others need."""
        inputs = {key: value for key, value in args.inputs.items() if not isinstance(value, pulumi.output.Unknown)}
        outputs: dict[str, Any] = dict(inputs)
        match args.typ.rpartition(":")[2]:
            case "Bucket":
                bucket = inputs["bucket"]
                outputs |= {
                    "arn": f"arn:aws:s3:::{bucket}",
                    "bucketRegionalDomainName": f"{bucket}.s3.eu-west-1.amazonaws.com",
                }
            case "Certificate":
                outputs["arn"] = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1"
                # Another order than was asked for, and trailing dots: as ACM answers.
                hosts = sorted([inputs["domainName"], *inputs.get("subjectAlternativeNames", [])], reverse=True)
                outputs["domainValidationOptions"] = [
                    {
                        "domainName": host,
                        "resourceRecordName": f"_{token(host)}.{host}.",
                        "resourceRecordValue": f"_{token(host)}.acm-validations.aws.",
                        "resourceRecordType": "CNAME",
                    }
                    for host in hosts
                ]
            case "Distribution":
                outputs |= {"arn": f"arn:aws:cloudfront::{ACCOUNT}:distribution/E1", "domainName": TARGET}
            case "Function":
                outputs["arn"] = f"arn:aws:cloudfront::{ACCOUNT}:function/{inputs['name']}"
        return args.resource_id or f"{args.name}-id", outputs

    def s3(self, operation: str, given: dict[str, Any]) -> dict[str, Any] | str:
        """Answer S3 and STS: a document, or an error's code."""
        failing = self.failing.get("sts" if operation == "GetCallerIdentity" else "s3")
        if isinstance(failing, Exception):
            raise failing
        if failing:
            return str(failing)
        if operation == "GetCallerIdentity":
            return {"Account": self.own_account}
        if operation == "ListObjectVersions" and "Prefix" not in given:
            entries = [self._entry(domain) for domain, (_, metadata) in self.versions.items() if metadata is not None]
            return {"Versions": entries}
        domain = given.get("Prefix", given.get("Key", "")).partition("/")[0]
        version_id, metadata = self.versions.get(domain, ("", None))
        if operation == "GetObject":
            assert given["VersionId"] == version_id
            return {"Metadata": metadata, "Body": io.BytesIO(self.bodies.get(domain, b""))}
        assert operation == "ListObjectVersions"
        if not version_id:
            return {}
        entry = self._entry(domain)
        return {"DeleteMarkers": [entry]} if metadata is None else {"Versions": [entry]}

    def _entry(self, domain: str) -> dict[str, Any]:
        version_id, _ = self.versions[domain]
        key = f"{domain}/.well-known/mta-sts.txt"
        return {"Key": key, "VersionId": version_id, "IsLatest": True, "LastModified": self.written}


def token(host: str) -> str:
    """Return what stands for ACM's token of a name."""
    return hashlib.sha256(host.encode()).hexdigest()[:8]


@dataclass
class Registered:
    """One resource as the engine was asked for it."""

    request: Any
    inputs: dict[str, Any]

    @property
    def type(self) -> str:
        """The type token."""
        return str(self.request.type)

    @property
    def protect(self) -> bool:
        """Whether the engine may not delete it."""
        return bool(self.request.protect)

    @property
    def dependencies(self) -> set[str]:
        """The names of the resources that it waits for."""
        return {urn.rpartition("::")[2] for urn in self.request.dependencies}


class Monitor(mocks.MockMonitor):
    """Keeps each raw request; `set_mocks` alone shows neither dependencies nor options."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.registered: dict[str, Registered] = {}

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the engine's name
        """Note the request, then answer it."""
        if request.type != "pulumi:pulumi:Stack":
            self.registered[request.name] = Registered(request, rpc.deserialize_properties(request.object))
        return super().RegisterResource(request)


@dataclass
class Run:
    """What a program asked for."""

    registered: dict[str, Registered] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Registered:
        return self.registered[name]

    def __contains__(self, name: str) -> bool:
        return name in self.registered

    def children(self) -> dict[str, str]:
        """Return each resource's type by name."""
        return {name: registered.type for name, registered in sorted(self.registered.items())}


class _Warnings(logging.Handler):
    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(record.getMessage())


@contextmanager
def _own_event_loops() -> Iterator[None]:
    """Let Pulumi work in event loops that are closed afterwards; it opens one in each thread and closes none."""
    loops: list[asyncio.AbstractEventLoop] = []

    def tracked() -> asyncio.AbstractEventLoop:
        loops.append(new_event_loop())
        return loops[-1]

    new_event_loop = asyncio.new_event_loop
    main = tracked()
    asyncio.set_event_loop(main)
    try:
        with mock.patch.object(asyncio, "new_event_loop", tracked):
            yield
    finally:
        main.run_until_complete(main.shutdown_default_executor())
        asyncio.set_event_loop(None)
        for loop in loops:
            loop.close()


@contextmanager
def recording(world: World, *, preview: bool) -> Iterator[Run]:
    """Give Pulumi these mocks; what is registered can be read even after a refusal."""
    monitor = Monitor(world)
    run = Run(monitor.registered)
    logger = logging.Logger("pulumi-mocks")  # noqa: LOG001  not in the tree of loggers: only ours reads it
    logger.addHandler(_Warnings(run.warnings))
    with _own_event_loops():
        mocks.set_mocks(world, project="mta-sts", stack="test", preview=preview, monitor=monitor, logger=logger)
        yield run


def deploy(world: World, program: Callable[[], object], *, preview: bool = False) -> Run:
    """Run a program to its end, as `up` or as `preview`."""
    with recording(world, preview=preview) as run:
        _run_to_its_end(program)
    return run


def _run_to_its_end(program: Callable[[], object]) -> None:
    def run() -> None:
        program()

    pulumi.runtime.test(run)()


def refusal(world: World, program: Callable[[], object], *, preview: bool = False) -> tuple[str, list[str]]:
    """Return the message and the property paths with which a program is refused; nothing may be registered then."""
    with recording(world, preview=preview) as run:
        try:
            _run_to_its_end(program)
        except pulumi.InputPropertiesError as error:
            assert {} == run.children()
            return error.message, [detail["property_path"] for detail in error.errors or []]
    raise AssertionError(f"not refused: {run.children()}")


def use_aws(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let S3 and STS, as the components call them, answer from this world."""
    client = _clients()
    _Answering.world = world
    monkeypatch.setattr(aws_access, "_session", lambda: SimpleNamespace(client=client.__getitem__))


class _Answering:
    """The world that the clients ask now; making a client takes too long for each test."""

    world: World


@cache
def _clients() -> dict[str, Any]:
    session = boto3.session.Session("key", "secret", region_name="eu-west-1")
    clients = {name: session.client(name) for name in ("s3", "sts")}
    for name, client in clients.items():
        # botocore checks the parameters against the service's model first.
        client.meta.events.register(f"before-parameter-build.{name}", _keep)
        client.meta.events.register(f"before-call.{name}", _answer)
    return clients


def _keep(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    context["given"] = params


def _answer(model: Any, context: dict[str, Any], **_: Any) -> tuple[SimpleNamespace, dict[str, Any]]:
    answer = _Answering.world.s3(model.name, context["given"])
    if isinstance(answer, str):
        return SimpleNamespace(status_code=403), {"Error": {"Code": answer, "Message": answer}, "ResponseMetadata": {}}
    return SimpleNamespace(status_code=200), answer
