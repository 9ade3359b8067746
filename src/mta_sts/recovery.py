"""What a killed update left: a lock, a damaged state file, things made in a cloud and not in the state.

Everything here reads, or mends the state through Pulumi's own commands; nothing in a cloud is changed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlparse

from mta_sts.records import txt_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_ATTRIBUTES = ".attrs"  # beside each file of a file:// backend
_MADE_AGAIN = frozenset(
    {
        "aws:acm/certificateValidation:CertificateValidation",
        "aws:s3/bucketObjectv2:BucketObjectv2",
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "aws:s3/bucketVersioning:BucketVersioning",
    }
)
"""Types that are only written into something else: making them again leaves what one making leaves."""


class RecoveryError(RuntimeError):
    """The state could not be read or mended; the message says why, and what to do."""


class Step(StrEnum):
    """What becomes of a creation that was under way."""

    IMPORT = "import"
    CLEAR = "clear"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about one pending creation; `id` is that in its cloud, as its provider keeps it."""

    urn: str
    step: Step
    why: str
    id: str = ""
    unlike: Mapping[str, Any] = field(default_factory=dict)
    """Inputs that it was not made with: the next update sees them, and makes it so."""

    def __str__(self) -> str:
        return f"{self.step}: {self.urn.rpartition('::')[2]}: {self.why}"


@dataclass(frozen=True, slots=True)
class Lock:
    """Who holds the state; `gone` where it was a process of this machine that is no more."""

    holder: str
    gone: bool

    def __str__(self) -> str:
        return f"lock: held by {self.holder}" + (", which is no more" if self.gone else "")


@dataclass(slots=True)
class Damage:
    """All that an interrupted update left of a stack."""

    decisions: list[Decision] = field(default_factory=list)
    locks: list[Lock] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)

    @property
    def found(self) -> list[str]:
        """All of it in words."""
        return [str(one) for one in (*self.locks, *self.repairs, *self.decisions)]


class Repair(NamedTuple):
    """A file of a file:// backend that can't be read: `good` is to take its place, None where it is not needed."""

    file: Path
    good: Path | None

    def __str__(self) -> str:
        return f"{self.file.name}: " + (f"put {self.good.name} in its place" if self.good else "empty; remove it")


class Stack:
    """A stack, reached through the `pulumi` command in its project's folder."""

    def __init__(self, folder: Path, name: str) -> None:
        """`folder` holds Pulumi.yaml."""
        self._folder = folder
        self._name = name
        self._backend: str | None = None

    def damage(self, environment: Mapping[str, str]) -> Damage:
        """Return what is to be mended; raises RecoveryError where that can't be told."""
        found = Damage(locks=self._locks(), repairs=self._unreadable())
        if not found.repairs:
            found.decisions = self._decisions(environment)
        return found

    def mend(self, damage: Damage, *, cancel_lock: bool = False) -> None:
        """Do what was found; the state files before what they hold. Raises RecoveryError, and then did no more."""
        held = [lock.holder for lock in damage.locks if not lock.gone]
        if held and not cancel_lock:
            raise RecoveryError(
                f"the state is locked by {'; '.join(held)}: if that update surely runs no more, give --cancel-lock"
            )
        asked = [str(decision) for decision in damage.decisions if decision.step is Step.ASK]
        if asked:
            raise RecoveryError("nothing was done; decide first: " + "; ".join(asked))
        for repair in damage.repairs:
            if repair.good is not None:
                shutil.copy2(repair.file, repair.file.with_suffix(".damaged"))
                shutil.copy2(repair.good, repair.file)
            else:
                repair.file.unlink()
        if damage.locks:
            self._pulumi("cancel", "--yes")
        if damage.decisions:
            self._settle(damage.decisions)

    def _settle(self, decisions: Sequence[Decision]) -> None:
        """Put what was made into the state and drop the rest of what was pending; then let the engine read it.

        `pulumi refresh --import-pending-creates` is no way: nothing in the engine takes up what it marks (3.259).
        """
        document = self._export()
        state = document["deployment"]
        made = {decision.urn: decision for decision in decisions if decision.step is Step.IMPORT}
        for resource in self._pending(state):
            decision = made.get(resource["urn"])
            if decision is not None:
                inputs = resource["inputs"] | decision.unlike
                # The inputs stand for what the engine does not know yet: the refresh asks the provider.
                state["resources"].append(resource | {"id": decision.id, "inputs": inputs, "outputs": inputs})
        state["pending_operations"] = []
        with TemporaryDirectory() as folder:
            file = Path(folder) / "state.json"
            file.write_text(json.dumps(document), encoding="utf-8")
            self._pulumi("stack", "import", "--file", str(file))
        if made:
            self._pulumi("refresh", "--yes", "--skip-preview", *(f"--target={urn}" for urn in made))

    def _export(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._pulumi("stack", "export"))
        return document

    @staticmethod
    def _pending(state: Mapping[str, Any]) -> list[dict[str, Any]]:
        pending = state.get("pending_operations") or []
        return [one["resource"] for one in pending if one["type"] == "creating"]

    def _pulumi(self, *arguments: str) -> str:
        command = ["pulumi", "--non-interactive", "--color=never", *arguments]
        if arguments[0] != "whoami":
            command += ["--stack", self._name]
        try:
            run = subprocess.run(  # noqa: S603  Pulumi's own command, no shell
                command, cwd=self._folder, capture_output=True, text=True, check=False
            )
        except FileNotFoundError:
            raise RecoveryError("there is no `pulumi` command on PATH; install Pulumi") from None
        if run.returncode:
            said = (run.stderr.strip() or run.stdout.strip())[-2000:]
            raise RecoveryError(f"`pulumi {arguments[0]}` failed: {said}")
        return run.stdout

    def _files(self) -> Path | None:
        """Return the folder of a file:// backend; None where the state is kept elsewhere."""
        if self._backend is None:
            self._backend = str(json.loads(self._pulumi("whoami", "--verbose", "--json"))["url"])
        place = urlparse(self._backend)
        return Path(unquote(place.path)).expanduser() / ".pulumi" if place.scheme == "file" else None

    def _locks(self) -> list[Lock]:
        # Elsewhere the service knows whether an update runs, and ends its lock by itself or by `pulumi cancel`.
        root = self._files()
        files = root.glob(f"locks/**/{self._name}/*.json") if root else ()
        return [_lock(file) for file in files]

    def _unreadable(self) -> list[Repair]:
        root = self._files()
        repairs = []
        for file in root.glob(f"stacks/**/{self._name}.json") if root else ():
            kept = file.with_name(f"{file.name}.bak")
            if not _is_json(file) and _is_json(kept):
                repairs.append(Repair(file, kept))
            attributes = (one.with_name(f"{one.name}{_ATTRIBUTES}") for one in (file, kept))
            # Without it the backend takes what is usual; an empty one ends every command ("EOF").
            repairs += [Repair(one, None) for one in attributes if one.exists() and not _is_json(one)]
        return repairs

    def _decisions(self, environment: Mapping[str, str]) -> list[Decision]:
        state = self._export()["deployment"]
        pending = self._pending(state)
        if not pending:
            return []
        settings = {name: item.get("value") for name, item in json.loads(self._pulumi("config", "--json")).items()}
        known = {(one["type"], one["id"]) for one in state.get("resources") or [] if one.get("id")}
        clouds = _Clouds(settings, environment)
        return [_decide(resource, clouds, known) for resource in pending]


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _lock(file: Path) -> Lock:
    try:
        content = json.loads(file.read_bytes())
        pid, host = int(content["pid"]), str(content["hostname"])
        holder = f"process {pid} of {content['username']} on {host} since {content['timestamp']}"
    except (OSError, ValueError, KeyError):
        return Lock(f"{file} (unreadable)", gone=False)
    return Lock(holder, gone=host == socket.gethostname() and not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _decide(resource: Mapping[str, Any], clouds: _Clouds, known: set[tuple[str, str]]) -> Decision:
    """Return what becomes of a creation that was under way, from what stands in the cloud."""
    urn, kind = str(resource["urn"]), str(resource["type"])
    nowhere = not resource.get("custom") or kind.startswith("pulumi:")
    if nowhere or kind in _MADE_AGAIN:
        return Decision(urn, Step.CLEAR, "it stands in no cloud" if nowhere else "making it again changes nothing")
    if kind not in _LOOK_UPS:
        return Decision(urn, Step.ASK, f"{kind} can't be looked up here; `pulumi refresh` asks for its id")
    try:
        found = [one for one in _LOOK_UPS[kind](clouds, resource["inputs"]) if (kind, one.id) not in known]
    except _UnseenError as error:
        return Decision(urn, Step.ASK, str(error))
    if not found:
        return Decision(urn, Step.CLEAR, "it was not made")
    if len(found) > 1:
        alike = ", ".join(one.id for one in found)
        return Decision(urn, Step.ASK, f"several are like it ({alike}): remove what is not needed")
    (made,) = found
    return Decision(urn, Step.IMPORT, f"it was made: {made.id}", made.id, made.unlike)


class _Made(NamedTuple):
    """Something in a cloud: its id as its provider keeps it, and inputs that it does not have yet."""

    id: str
    unlike: Mapping[str, Any] = MappingProxyType({})


class _UnseenError(Exception):
    """Whether a thing was made can't be told; the message says why."""


class _Clouds:
    """Reads what stands in the clouds, with the settings of the stack."""

    def __init__(self, settings: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._settings = settings
        self._environment = environment
        self._account = ""

    def aws(self, service: str, region: str | None = None) -> Any:
        """Return a client; raises _UnseenError where it is of another account than the stack's."""
        import boto3  # noqa: PLC0415  heavy: only when AWS is read

        session = boto3.Session(
            profile_name=self._settings.get("aws:profile"),
            region_name=region or self._settings.get("aws:region") or "us-east-1",
        )
        if not self._account:
            self._account = str(session.client("sts").get_caller_identity()["Account"])
            allowed = self._settings.get("aws:allowedAccountIds") or "[]"
            if self._account not in (json.loads(allowed) if isinstance(allowed, str) else allowed):
                message = f"these AWS credentials are of account {self._account}, not in `aws:allowedAccountIds`"
                self._account = ""
                raise _UnseenError(message)
        client: Any = session.client(service)  # type: ignore[call-overload]
        return client

    def records(self, zone_id: str, name: str) -> list[Any]:
        """Return the records at a name of a Cloudflare zone."""
        from mta_sts.adoption.zone import ZoneUnreadError, read_records  # noqa: PLC0415  only when it is read

        try:
            return read_records(zone_id, name, self._environment)
        except ZoneUnreadError as error:
            raise _UnseenError(str(error)) from error


def _reads(look_up: Callable[[_Clouds, Mapping[str, Any]], Iterator[_Made]]) -> _LookUp:
    """Let what a cloud refuses, or an input that is secret, be a reason and never an absence."""

    def read(clouds: _Clouds, inputs: Mapping[str, Any]) -> list[_Made]:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  heavy

        try:
            return list(look_up(clouds, inputs))
        except ClientError as error:
            raise _UnseenError(f"{error.operation_name} was refused ({error}); allow it, then run again") from error
        except BotoCoreError as error:
            raise _UnseenError(f"AWS can't be read: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise _UnseenError(f"an input that names it is secret or not known ({error})") from error

    return read


@_reads
def _buckets(clouds: _Clouds, inputs: Mapping[str, Any]) -> Iterator[_Made]:
    from botocore.exceptions import ClientError  # noqa: PLC0415  heavy

    try:
        clouds.aws("s3").head_bucket(Bucket=inputs["bucket"])
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise
    else:
        yield _Made(inputs["bucket"])


@_reads
def _certificates(clouds: _Clouds, inputs: Mapping[str, Any]) -> Iterator[_Made]:
    acm = clouds.aws("acm", inputs.get("region"))
    wanted = {inputs["domainName"], *(inputs.get("subjectAlternativeNames") or ())}
    for page in acm.get_paginator("list_certificates").paginate():
        for one in page["CertificateSummaryList"]:
            if one["DomainName"] == inputs["domainName"]:
                held = acm.describe_certificate(CertificateArn=one["CertificateArn"])["Certificate"]
                if set(held["SubjectAlternativeNames"]) == wanted and not held.get("InUseBy"):
                    yield _Made(one["CertificateArn"])


@_reads
def _functions(clouds: _Clouds, inputs: Mapping[str, Any]) -> Iterator[_Made]:
    cloudfront = clouds.aws("cloudfront")
    name = inputs["name"]
    try:
        cloudfront.describe_function(Name=name, Stage="DEVELOPMENT")
    except cloudfront.exceptions.NoSuchFunctionExists:
        return
    try:
        cloudfront.describe_function(Name=name, Stage="LIVE")
    except cloudfront.exceptions.NoSuchFunctionExists:
        yield _Made(name, {"publish": False})  # killed between the two calls that make it
    else:
        yield _Made(name)


@_reads
def _access_controls(clouds: _Clouds, inputs: Mapping[str, Any]) -> Iterator[_Made]:
    cloudfront = clouds.aws("cloudfront")
    marker: dict[str, str] = {}
    while True:
        page = cloudfront.list_origin_access_controls(**marker)["OriginAccessControlList"]
        yield from (_Made(one["Id"]) for one in page.get("Items") or () if one["Name"] == inputs["name"])
        if not page.get("IsTruncated"):
            return
        marker = {"Marker": page["NextMarker"]}


@_reads
def _distributions(clouds: _Clouds, inputs: Mapping[str, Any]) -> Iterator[_Made]:
    wanted = set(inputs["aliases"])
    for page in clouds.aws("cloudfront").get_paginator("list_distributions").paginate():
        for one in page["DistributionList"].get("Items") or ():
            if wanted.intersection(one["Aliases"].get("Items") or ()):
                yield _Made(one["Id"])


@_reads
def _records(clouds: _Clouds, inputs: Mapping[str, Any]) -> Iterator[_Made]:
    kind, content = inputs["type"], inputs["content"]
    wanted = txt_value(content) if kind == "TXT" else content.rstrip(".").lower()
    for record in clouds.records(inputs["zoneId"], inputs["name"]):
        if (record.type, record.value) == (kind, wanted):
            yield _Made(record.id)


if TYPE_CHECKING:
    _LookUp = Callable[[_Clouds, Mapping[str, Any]], Sequence[_Made]]

_LOOK_UPS = {
    "aws:s3/bucket:Bucket": _buckets,
    "aws:acm/certificate:Certificate": _certificates,
    "aws:cloudfront/function:Function": _functions,
    "aws:cloudfront/originAccessControl:OriginAccessControl": _access_controls,
    "aws:cloudfront/distribution:Distribution": _distributions,
    "cloudflare:index/dnsRecord:DnsRecord": _records,
}
"""How it is found whether a thing was made: each gives the ids under which its provider keeps it."""
