"""What the Pulumi engine means to do: `pulumi preview --json`, as one document or as a stream of events.

Everything that a review has no use for is thrown away at once, so that a plan of many megabytes takes little memory.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LARGEST_PLAN = 256 * 2**20
"""Bytes; a plan of 1,000 domains has some 60 million."""
RECORD_WITH = "pulumi preview --json --show-sames"
"""The command that records a plan rightly."""

_NOT_YET = frozenset({"create", "create-replacement", "import-replacement"})
"""Operations on what is not there before the update."""
_GOES = frozenset({"delete", "delete-replaced", "discard", "discard-replaced", "read-discard"})
_LOGICAL = frozenset({"refresh", "remove-pending-replace"})
"""Operations that change nothing that senders see."""
_STAYS = frozenset({"same", "read", "import"})
"""Operations that leave a resource as it is; an imported one stood there already, made by somebody else."""
_CHANGES = frozenset({"update", "replace", "read-replacement"})
_KNOWN = _NOT_YET | _GOES | _LOGICAL | _STAYS | _CHANGES
_ELSEWHERE = {
    "terraform_version": "a Terraform plan",
    "format_version": "a Terraform plan",
    "resource_changes": "a Terraform plan",
    "deployment": "a stack's exported state",
    "resourcePlans": "an update plan (`--save-plan`)",
    "Resources": "a CloudFormation template",
    "AWSTemplateFormatVersion": "a CloudFormation template",
}
_PARTS_OF_URN = 4
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
    import orjson  # noqa: PLC0415  not for --help

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
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if _first_event(data) is not None:
            return _from_events(source, _events(source, data))
        raise PlanError(f"{source} is not JSON, or cut off ({error}); {_GIVE}") from error
    if not isinstance(document, dict):
        raise PlanError(f"{source} is JSON, but no plan of Pulumi's; {_GIVE}")
    if _is_event(document):
        return _from_events(source, iter([document]))
    return _from_document(source, document)


_GIVE = f"give what `{RECORD_WITH}` wrote"


def _from_document(source: str, document: dict[str, Any]) -> Plan:
    """Read the one document of `pulumi preview --json`."""
    steps = document.get("steps")
    if not isinstance(steps, list) or "version" in document:
        found = next((what for key, what in _ELSEWHERE.items() if key in document), "JSON of another kind")
        if set(document) <= {"config", "diagnostics", "duration", "changeSummary", "maybeCorrupt"} and document:
            steps = []  # a preview that failed before its first step
        else:
            raise PlanError(f"{source} is {found}, or of a version that is not known here; {_GIVE}")
    plan = Plan(source)
    parts = []
    for index, step in enumerate(steps):
        op, urn = (step.get("op"), step.get("urn")) if isinstance(step, dict) else (None, None)
        if not isinstance(op, str) or not _is_urn(urn):
            raise PlanError(f"{source}: step {index + 1} has no `op` and `urn`: another version of Pulumi's; {_GIVE}")
        parts.append((op, urn, _state(urn, step.get("oldState")), _state(urn, step.get("newState"))))
        steps[index] = None  # what is read is let go
    diagnostics = document.get("diagnostics")
    for each in diagnostics if isinstance(diagnostics, list) else ():
        _note_diagnostic(plan, _mapping(each), "")
    return _completed(plan, parts, _mapping(document.get("changeSummary")))


def _first_event(data: bytes) -> Any:
    """Return the first line where it is an event of the engine's, else None."""
    import orjson  # noqa: PLC0415

    try:
        document = orjson.loads(data.lstrip().split(b"\n", 1)[0])
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) and _is_event(document) else None


def _is_event(document: dict[str, Any]) -> bool:
    return "sequence" in document and any(_EVENT.search(key) for key in document)


def _events(source: str, data: bytes) -> Iterator[dict[str, Any]]:
    import orjson  # noqa: PLC0415

    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise PlanError(f"{source}, line {number}, is not JSON, or cut off ({error}); {_GIVE}") from error


def _from_events(source: str, events: Iterable[dict[str, Any]]) -> Plan:
    """Read the stream of events that `PULUMI_ENABLE_STREAMING_JSON_PREVIEW` (or the event log) gives."""
    plan = Plan(source, ordered=False)
    parts: list[tuple[str, str, State | None, State | None]] = []
    summary: Mapping[str, Any] | None = None
    for event in events:
        metadata = _mapping(_mapping(event.get("resourcePreEvent")).get("metadata"))
        if metadata:
            op, urn = metadata.get("op"), metadata.get("urn")
            if not isinstance(op, str) or not _is_urn(urn):
                raise PlanError(f"{source}: an event has no `op` and `urn`: another version of Pulumi's; {_GIVE}")
            parts.append((op, urn, _state(urn, metadata.get("old")), _state(urn, metadata.get("new"))))
        said = _mapping(event.get("diagnosticEvent"))
        _note_diagnostic(plan, said, str(said.get("prefix") or ""))
        summary = _mapping(event.get("summaryEvent")) or summary
    if summary is None:
        plan.failed.append("the stream ends before the engine summed up: cut off, or the preview was stopped")
        summary = {}
    elif not summary.get("isPreview", True):
        raise PlanError(f"{source} is the log of an update that has run; {_GIVE}")
    elif summary.get("result") not in (None, "succeeded") and not plan.failed:
        plan.failed.append(f"the preview {summary['result']}")
    return _completed(plan, parts, _mapping(summary.get("resourceChanges")))


def _is_urn(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value.count("::") >= _PARTS_OF_URN - 1


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _state(urn: str, given: Any) -> State | None:
    """Keep what matters of a resource's state."""
    if not isinstance(given, dict):
        return None
    dependencies = given.get("dependencies")
    return State(
        urn=urn,
        resource_type=urn.split("::")[2].rpartition("$")[2],
        props=_mapping(given.get("inputs")),
        outputs=_mapping(given.get("outputs")),
        protected=bool(given.get("protect")),
        retained=bool(given.get("retainOnDelete")),
        id=str(given.get("id") or ""),
        dependencies=tuple(map(str, dependencies)) if isinstance(dependencies, list) else (),
    )


def _note_diagnostic(plan: Plan, diagnostic: Mapping[str, Any], prefix: str) -> None:
    text = _PREFIX.sub("", f"{prefix}{diagnostic.get('message') or ''}".strip())
    severity = diagnostic.get("severity")
    if severity == "error" and text not in plan.failed and not (text == "preview failed" and plan.failed):
        plan.failed.append(text)
    elif severity == "warning" and _SAID_BY_US.search(text) and text not in plan.said:
        plan.said.append(text)


def _completed(
    plan: Plan, parts: list[tuple[str, str, State | None, State | None]], summary: Mapping[str, Any]
) -> Plan:
    """Put the parts together: one step a resource, also where the engine takes several."""
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
