"""What the Pulumi engine means to do: `pulumi preview --json`, as one document or as a stream of events.

It is read a step at a time, and what a review has no use for is thrown away at once, so that a plan of many megabytes
takes little memory.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from sys import intern
from typing import TYPE_CHECKING, Any, TypeGuard

from mta_sts.review.json_document import Document, JsonError
from mta_sts.review.words import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LARGEST_PLAN = 256 * 2**20
"""Bytes; a plan of 1,000 domains has some 60 million."""
LARGEST_VALUE = 8 * 2**20
"""Bytes of one step, or of anything else that is read at once: in memory a value can take thirty times its text."""
RECORD_WITH = "pulumi preview --json --show-sames"
"""The command that records a plan rightly."""

MOST_CHANGED = 5_000_000
"""Values in all resources that change: as many as take half a GiB of memory."""

_NOT_YET = frozenset({"create", "create-replacement", "import-replacement"})
"""Operations on what is not there before the update."""
_GOES = frozenset({"delete", "delete-replaced", "discard", "discard-replaced", "read-discard"})
_LOGICAL = frozenset({"refresh", "remove-pending-replace"})
"""Operations that change nothing that senders see."""
_STAYS = frozenset({"same", "read", "import"})
"""Operations that leave a resource as it is; an imported one stood there already, made by somebody else."""
_CHANGES = frozenset({"update", "replace", "read-replacement"})
_KNOWN = _NOT_YET | _GOES | _LOGICAL | _STAYS | _CHANGES
_IMPLIES_OLD = _GOES | {"same", "update", "replace"}
_IMPLIES_NEW = _NOT_YET | {"same", "update", "replace", "import"}
_NOT_SHOWN = frozenset({"same", "read", "read-replacement", "read-discard", "refresh"})
"""Operations that a summary may count and a plan leave out; what stays the same is looked at by itself."""
_READ_AS_IT_STANDS = re.compile(r"record|distribution|object|blob|zone|bucket|cachePolicy|^mta-sts:", re.IGNORECASE)
"""Types that are read also where nothing changes of them; of others only what depends on what is kept."""
_ELSEWHERE = {
    "terraform_version": "a Terraform plan",
    "format_version": "a Terraform plan",
    "resource_changes": "a Terraform plan",
    "deployment": "a stack's exported state",
    "planned_values": "a Terraform plan",
    "resourcePlans": "an update plan (`--save-plan`)",
    "Resources": "a CloudFormation template",
    "AWSTemplateFormatVersion": "a CloudFormation template",
}
_PARTS_OF_URN = 4
_OF_A_PLAN = frozenset({"config", "diagnostics", "duration", "changeSummary", "maybeCorrupt"})
_EVENT = re.compile(r"[a-zA-Z]+Event$")
_SAID_BY_US = re.compile(r"\[[a-z]+(?:-[a-z0-9]+)+\]\s*\Z")
"""How the components end what they say (`mta_sts.findings.Finding`)."""

_PREFIX = re.compile(r"\A(?:(?:error|warning|info|an unhandled error occurred|Preview failed): )+")


class PlanError(ValueError):
    """What was given is no plan of Pulumi's, or not a whole one; the message says what it is and what to give."""


@dataclass(frozen=True, slots=True)
class State:
    """A resource as it is before or after the update: a `mta_sts.cloud_resources.Resource`."""

    urn: str
    resource_type: str
    props: Mapping[str, Any]
    outputs: Mapping[str, Any]
    protected: bool = False
    retained: bool = False
    """Whether it stays in the cloud when it leaves the stack."""
    id: str = ""
    dependencies: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in the program."""
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one resource; `old` and `new` as it is before and after, None where it is not there."""

    op: str
    urn: str
    old: State | None
    new: State | None

    @property
    def goes(self) -> bool:
        """Whether the resource leaves the stack."""
        return self.new is None

    @property
    def same(self) -> bool:
        """Whether nothing happens."""
        return self.op in _STAYS

    @property
    def unprotects(self) -> bool:
        """Whether the resource stays, no longer protected from deletion."""
        return self.old is not None and self.old.protected and self.new is not None and not self.new.protected


@dataclass(slots=True)
class Plan:
    """Everything that one plan says. `failed` holds the engine's errors, `said` what our components have to say."""

    source: str
    steps: list[Step] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    ordered: bool = True
    """Whether it tells what waits for what; a stream of events does not."""
    complete: bool = True
    """Whether the resources that stay the same are in it."""

    @property
    def stack(self) -> str:
        """The stack's name, empty where no resource tells it."""
        return self.steps[0].urn.split("::")[0].rpartition(":")[2] if self.steps else ""

    @property
    def project(self) -> str:
        """The project's name, empty where no resource tells it."""
        return self.steps[0].urn.split("::")[1] if self.steps else ""


def read_plan(source: str, data: bytes) -> Plan:
    """Return the plan in these bytes; raises PlanError for anything else."""
    if len(data) > LARGEST_PLAN:
        raise PlanError(
            f"{source} has {len(data) // 2**20} MiB, and a plan may have {LARGEST_PLAN // 2**20}: split the stack"
        )
    if not data.strip():
        raise PlanError(f"{source} is empty: the preview failed before it wrote anything; {_GIVE}")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise PlanError(
            f"{source} is UTF-16, as `>` of Windows PowerShell writes, which may have damaged it: record it in "
            f"PowerShell 7, or with cmd /c '{RECORD_WITH} > plan.json'"
        )
    data = data.removeprefix(codecs.BOM_UTF8)
    if _begins_with_event(data):
        return _from_events(source, _events(source, data))
    try:
        return _from_document(source, Document(data, LARGEST_VALUE))
    except JsonError as error:
        raise PlanError(f"{source} is not JSON, or cut off ({error}); {_GIVE}") from error


_GIVE = f"give what `{RECORD_WITH}` wrote"


def _from_document(source: str, document: Document) -> Plan:
    """Read the one document of `pulumi preview --json`, a step at a time."""
    if not document.is_object:
        raise PlanError(f"{source} is JSON, but no plan of Pulumi's; {_GIVE}")
    parts = _Parts(source)
    rest: dict[str, Any] = {}
    for name, value in document.members(each_of="steps"):
        if name in _ELSEWHERE:
            raise PlanError(f"{source} is {_ELSEWHERE[name]}; {_GIVE}")
        if name == "steps" and value is not document.EMPTY:
            op, urn = (value.get("op"), value.get("urn")) if isinstance(value, dict) else (None, None)
            if not isinstance(op, str) or not _is_urn(urn):
                raise PlanError(
                    f"{source}: step {len(parts) + 1} has no `op` and `urn`: another version of Pulumi's; {_GIVE}"
                )
            parts.add(op, urn, value.get("oldState"), value.get("newState"), document.parts)
        rest[name] = True if name in ("steps", "config") else value  # what is read is let go
    if _is_event(rest):
        return _from_events(source, [(rest, 0)])
    if "version" in rest or ("steps" not in rest and not (rest and set(rest) <= _OF_A_PLAN)):
        # One that failed before its first step has no steps.
        raise PlanError(f"{source} is JSON of another kind, or of a version that is not known here; {_GIVE}")
    plan = Plan(source)
    diagnostics = rest.get("diagnostics")
    for each in diagnostics if isinstance(diagnostics, list) else ():
        _note_diagnostic(plan, _mapping(each), "")
    return _completed(plan, parts, _mapping(rest.get("changeSummary")), corrupt=bool(rest.get("maybeCorrupt")))


def _begins_with_event(data: bytes) -> bool:
    """Tell whether the first line is an event of the engine's."""
    import orjson  # noqa: PLC0415  not for --help

    line = BytesIO(data.lstrip()).readline(LARGEST_VALUE)
    if b'"sequence"' not in line:
        return False
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and _is_event(document)


def _is_event(document: Mapping[str, Any]) -> bool:
    return "sequence" in document and any(_EVENT.search(key) for key in document)


def _events(source: str, data: bytes) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Yield each event, and how many values it has about."""
    import orjson  # noqa: PLC0415

    for number, line in enumerate(BytesIO(data), 1):
        if len(line) > LARGEST_VALUE:
            raise PlanError(f"{source}, line {number}, has more than {LARGEST_VALUE // 2**20} MiB")
        if line.strip():
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise PlanError(f"{source}, line {number}, is not JSON, or cut off ({error}); {_GIVE}") from error
            yield _mapping(event), line.count(b",")


def _from_events(source: str, events: Iterable[tuple[Mapping[str, Any], int]]) -> Plan:
    """Read the stream of events that `PULUMI_ENABLE_STREAMING_JSON_PREVIEW` (or the event log) gives."""
    plan = Plan(source, ordered=False)
    parts = _Parts(source)
    summary: Mapping[str, Any] | None = None
    for event, values in events:
        metadata = _mapping(_mapping(event.get("resourcePreEvent")).get("metadata"))
        if metadata:
            op, urn = metadata.get("op"), metadata.get("urn")
            if not isinstance(op, str) or not _is_urn(urn):
                raise PlanError(f"{source}: an event has no `op` and `urn`: another version of Pulumi's; {_GIVE}")
            parts.add(op, urn, metadata.get("old"), metadata.get("new"), values)
        said = _mapping(event.get("diagnosticEvent"))
        _note_diagnostic(plan, said, str(said.get("prefix") or ""))
        summary = _mapping(event.get("summaryEvent")) or summary
    if summary is None:
        plan.failed.append("the stream ends before Pulumi summed up: cut off, or the preview was stopped")
        summary = {}
    elif not summary.get("isPreview", True):
        raise PlanError(f"{source} is the log of an update that has run; {_GIVE}")
    elif summary.get("result") not in (None, "succeeded") and not plan.failed:
        plan.failed.append(f"the preview {summary['result']}")
    changes = _mapping(summary.get("resourceChanges"))
    return _completed(plan, parts, changes, corrupt=bool(summary.get("maybeCorrupt")))


def _is_urn(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value.count("::") >= _PARTS_OF_URN - 1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


_Part = tuple[str, str, State | None, State | None]
"""An operation, its resource, and the states that the plan shows."""


class _Parts(list[_Part]):
    """What a plan shows, as far as a review reads it."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self._source = source
        self._values = 0

    def add(self, op: str, urn: str, old: Any, new: Any, values: int) -> None:
        """Keep what matters of an operation; raises PlanError where all of them are too much."""
        kind = urn.split("::")[2].rpartition("$")[2]
        read = op not in _STAYS or bool(_READ_AS_IT_STANDS.search(kind))
        self._values += values if read else 0
        if self._values > MOST_CHANGED:
            raise PlanError(
                f"{self._source} changes more than can be held in memory ({MOST_CHANGED:,} values): split the stack"
            )
        self.append((op, urn, _state(urn, kind, old, read=read), _state(urn, kind, new, read=read)))


def _state(urn: str, kind: str, given: Any, *, read: bool) -> State | None:
    """Keep what matters of a resource's state: what is not `read` counts only for the order."""
    if not isinstance(given, dict):
        return None
    dependencies = given.get("dependencies")
    return State(
        urn=urn,
        resource_type=kind,
        props=_mapping(given.get("inputs")) if read else {},
        outputs=_mapping(given.get("outputs")) if read else {},
        protected=bool(given.get("protect")),
        retained=bool(given.get("retainOnDelete")),
        id=str(given.get("id") or ""),
        # Thousands of resources depend on the same few.
        dependencies=tuple(map(intern, map(str, dependencies))) if isinstance(dependencies, list) else (),
    )


def _note_diagnostic(plan: Plan, diagnostic: Mapping[str, Any], prefix: str) -> None:
    text = _PREFIX.sub("", f"{prefix}{diagnostic.get('message') or ''}".strip())
    severity = diagnostic.get("severity")
    if severity == "error" and text not in plan.failed and not (text == "preview failed" and plan.failed):
        plan.failed.append(text)
    elif severity == "warning" and _SAID_BY_US.search(text) and text not in plan.said:
        plan.said.append(text)


def _completed(plan: Plan, parts: list[_Part], summary: Mapping[str, Any], *, corrupt: bool) -> Plan:
    """Put the parts together: one step a resource, also where the engine takes several."""
    if not plan.failed:
        plan.failed += _missing(parts, summary)
    if corrupt:
        plan.failed.append("Pulumi says that the stack's state may be corrupt")
    strange = sorted({op for op, *_ in parts} - _KNOWN)
    if strange:
        plan.failed.append(f"the plan has operations that are not known here: {', '.join(strange)}")
    made_anew = {urn for op, urn, *_ in parts if op in ("create-replacement", "import-replacement")}
    deleted: dict[str, State | None] = {urn: old for op, urn, old, _ in parts if op == "delete-replaced"}
    for op, urn, old, new in parts:
        if op in _LOGICAL or op == "delete-replaced" or (op == "replace" and urn in made_anew):
            continue
        if op in ("create-replacement", "import-replacement"):
            plan.steps.append(Step("replace", urn, old or deleted.get(urn), new))
        elif op in _GOES:
            plan.steps.append(Step(op, urn, old, None))
        elif op == "import":
            plan.steps.append(Step(op, urn, old or new, new))
        else:
            plan.steps.append(Step(op, urn, None if op in _NOT_YET else old, new))
    same = summary.get("same") or 0
    plan.complete = isinstance(same, int) and sum(op == "same" for op, *_ in parts) >= same
    return plan


def _missing(parts: list[_Part], summary: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the plan says itself that it does not show."""
    if not summary:
        # The engine sums up at the end of every preview that comes to its end.
        yield "Pulumi did not sum up: the preview was stopped, or the plan is cut off"
    shown = Counter(op for op, *_ in parts)
    # A replacement is shown as one step, or as those that it takes.
    shown["replace"] = max(shown["replace"], shown["create-replacement"])
    for op, count in summary.items():
        if op not in _NOT_SHOWN and (not isinstance(count, int) or shown[op] < count):
            yield f"of {count} {op} steps that Pulumi counts the plan shows {shown[op]}"
    bare = [
        urn.rpartition("::")[2]
        for op, urn, old, new in parts
        if (op in _IMPLIES_OLD and old is None) or (op in _IMPLIES_NEW and new is None)
    ]
    if bare:
        yield f"the plan does not show the state of {listed(bare)}, which it changes or keeps"
