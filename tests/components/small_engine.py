"""The component's own code from update to update, with a cloud of a few lines: what the outside sees, as a time-line.

It stands in for the engine where a guard is to be broken cheaply, and proves nothing about the engine: it makes records
in the order in which they are registered, one after the other, runs their hooks before, and deletes last what is no
longer registered. A wait lets the clock jump.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.runtime.sync_await import _sync_await
from pulumi_mta_sts import MtaSts, barriers, former_host
from pulumi_mta_sts.former_host import Serving, meaning
from pulumi_mta_sts.outside import outside, use

from mta_sts import parse_policy
from mta_sts.safety import Tally, replay
from tests.components.mocked import RECORD, RECORDS, TARGET, World, deploy
from tests.mta_sts.small_worlds import population

if TYPE_CHECKING:
    import pytest
    from pulumi.runtime.mocks import MockCallArgs

    from tests.components.mocked import Registered

DOMAIN = "example.com"
KEY = f"{DOMAIN}/.well-known/mta-sts.txt"
_INPUTS = ("name", "type", "content", "ttl", "priority", "comment")


class StoppedError(Exception):
    """The update was to stop here, or could not go on; what stands behind this step is not made."""


@dataclass
class Version:
    """One version of the policy object."""

    id: str
    written: float
    body: str
    metadata: dict[str, str]


@dataclass
class Cloud(World):
    """Zone, bucket and hosts of one domain, and what the outside saw.

    `elsewhere` are the bodies that other targets than ours serve; `drift` is how far the machine's clock is ahead.
    """

    clock: float = 1_767_225_600.0
    drift: float = 0.0
    objects: list[Version] = field(default_factory=list)
    versions_made: int = 0
    made: dict[str, Any] = field(default_factory=dict)
    """What the state knows: each record's registration and what stands in the zone, by name."""
    elsewhere: dict[str, str] = field(default_factory=dict)
    edge_keeps: float = 0.0
    """Seconds for which our edge goes on serving what it had."""
    events: list[dict[str, Any]] = field(default_factory=list)
    led: dict[str, float] = field(default_factory=dict)
    """Until when caches lead to a target of `mta-sts`."""

    def call(self, args: MockCallArgs) -> dict[str, Any]:
        """Answer a provider function; a look-up of one name gives that name's records alone."""
        answer = super().call(args)
        only = args.args.get("name", {}).get("exact") if args.token == RECORDS else None
        return {"results": [one for one in answer["results"] if one["name"] == only]} if only else answer

    def s3(self, operation: str, given: dict[str, Any]) -> dict[str, Any] | str:
        """Answer S3 with every version."""
        if operation == "ListObjectVersions":
            entries = [
                {"Key": KEY, "VersionId": one.id, "IsLatest": not number, "LastModified": _date(one.written)}
                for number, one in enumerate(reversed(self.objects))
            ]
            return {"Versions": entries} if entries else {}
        if operation == "GetObject":
            (found,) = [one for one in self.objects if one.id == given["VersionId"]]
            return {"Metadata": found.metadata, "Body": io.BytesIO(found.body.encode())}
        return super().s3(operation, given)

    def served(self, target: str) -> str | None:
        """Return what a target serves now."""
        if target != TARGET:
            return self.elsewhere.get(target)
        old = [one for one in self.objects[:-1] if self.clock < self.objects[-1].written + self.edge_keeps]
        newest = old[-1:] or self.objects[-1:]
        return newest[0].body if newest else None

    def at(self, name: str, kind: str) -> list[dict[str, Any]]:
        """Return the records of a name."""
        return [one for one in self.records.get("zone-1", []) if (one["name"], one["type"]) == (name, kind)]

    def see(self) -> None:
        """Note what the outside sees now, where it is something else than before."""
        mx, texts = self.at(DOMAIN, "MX"), self.at(f"_mta-sts.{DOMAIN}", "TXT")
        self._event("mx", sorted(one["content"] for one in mx), max((one["ttl"] for one in mx), default=0))
        # Of two records senders see none (RFC 8461 §3.1).
        text = texts[0]["content"].strip('"') if len(texts) == 1 else None
        self._event("txt", text, max((one["ttl"] for one in texts), default=300))
        for one in self.at(f"mta-sts.{DOMAIN}", "CNAME"):
            target = one["content"]
            for former, until in self.led.items():
                if former != target and until > self.clock and self.served(former) is not None:
                    self._event("policy", self.served(former), until - self.clock)
            self.led[target] = max(self.led.get(target, 0.0), self.clock + one["ttl"])
            newest = self.objects[-1].body if target == TARGET and self.objects else None
            if target == TARGET and self.edge_keeps and newest != self.served(target):
                self._event("policy", self.served(target), self.edge_keeps)
                self._event("policy", newest, 0)
            else:
                self._event("policy", self.served(target), 0)

    def _event(self, kind: str, value: Any, ttl: float) -> None:
        last = next((one for one in reversed(self.events) if one["kind"] == kind), {})
        if (last.get("value"), last.get("ttl")) != (value, ttl) or not last:
            self.events.append({"t": self.clock, "domain": DOMAIN, "kind": kind, "value": value, "ttl": ttl})

    def update(self, args: dict[str, Any], *, stop_before: str = "") -> list[str]:
        """Make one update, and return the warnings; raises StoppedError where it does not come to its end."""
        run = deploy(self, lambda: MtaSts("mail", args))
        for name, one in run.registered.items():
            if one.type.endswith(":BucketObjectv2"):
                self._put(one.inputs)
            elif one.type == RECORD:
                if stop_before and name.startswith(f"mail-{stop_before}"):
                    raise StoppedError(name)
                self._make(name, one)
        for name in [name for name in self.made if name not in run.registered]:
            resource, record = self.made[name]
            if resource.protect:
                raise StoppedError(f"{name} is protected")
            del self.made[name]
            if not resource.request.retainOnDelete:
                self.records["zone-1"].remove(record)
        self.see()
        return run.warnings

    def _put(self, inputs: dict[str, Any]) -> None:
        newest = self.objects[-1] if self.objects else None
        if newest is None or (newest.body, newest.metadata) != (inputs["content"], inputs["metadata"]):
            self.versions_made += 1
            made = Version(f"v{self.versions_made}", self.clock, inputs["content"], inputs["metadata"])
            self.objects.append(made)
        self.see()

    def _make(self, name: str, one: Registered) -> None:
        wanted = {key: one.inputs[key] for key in _INPUTS if one.inputs.get(key) is not None}
        known = self.made.get(name)
        record = known[1] if known else None
        if record is None or any(record.get(key) != value for key, value in wanted.items()):
            hooks = one.request.hooks
            for hook in hooks.before_update if record else hooks.before_create:
                self._ask(hook, one.inputs)
            if record is None:
                record = self.has(one.inputs["type"], one.inputs["name"], one.inputs["content"])
            record |= wanted | {"modifiedOn": _date(self.clock).isoformat()}
        self.made[name] = (one, record)
        self.see()

    def _ask(self, hook: str, inputs: dict[str, Any]) -> None:
        asked = SimpleNamespace(new_inputs=inputs)

        def program() -> None:
            try:
                _sync_await(HOOKS[hook].callback(asked))
            except (barriers.NotYetError, FileExistsError) as error:
                raise StoppedError(str(error)) from error

        deploy(self, program)

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.clock += seconds


HOOKS: dict[str, pulumi.ResourceHook] = {}


def enter(cloud: Cloud, patched: pytest.MonkeyPatch) -> None:
    """Let the component meet this cloud, and no other."""
    made = pulumi.ResourceHook

    def remember(name: str, callback: Any, *options: Any) -> pulumi.ResourceHook:
        HOOKS[name] = made(name, callback, *options)
        return HOOKS[name]

    async def wait(seconds: float) -> None:
        cloud.clock += seconds

    async def wrong_edges(_: str, name: str, body: bytes) -> list[str]:
        served = cloud.served(name)
        same = served is not None and meaning(parse_policy(served)) == meaning(parse_policy(body))
        return [] if same else [f"{name} serves another policy"]

    async def look(domain: str) -> Serving:
        served = [cloud.served(one["content"]) for one in cloud.at(f"mta-sts.{domain}", "CNAME")]
        return Serving([parse_policy(body) for body in served if body is not None])

    patched.setattr(pulumi, "ResourceHook", remember)
    patched.setattr(barriers, "_wrong_edges", wrong_edges)
    patched.setattr(former_host, "_look", look)
    use(replace(outside(), now=lambda: cloud.clock + cloud.drift, wait=wait))


def judged(cloud: Cloud, since: float, *, complete: bool = True) -> Tally:
    """Return what senders of every kind met from a moment on; MX hosts that fail are `cloud.mail_hosts`."""
    failing = [host for host, wrong in cloud.mail_hosts.items() if wrong]
    begin = {"t": cloud.events[0]["t"], "domain": DOMAIN, "kind": "mxtls", "value": sorted(failing), "ttl": 0}
    return replay([begin, *cloud.events], population(), since=since, complete=complete)


def _date(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
