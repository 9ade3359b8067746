"""An adoption as text for a person, or as a document for a program."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from mta_sts.findings import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mta_sts.adoption.observe import Looked
    from mta_sts.adoption.plan import Adoption, Step

_NEW_ID_WORDS = "The second update publishes this record; until then the one of today stays"


class _Dumper(yaml.SafeDumper):
    """Quotes what begins like a number: to Pulumi the id 12e3 is 12000, 09012026 is 9012026 and 0X1F is 31."""


_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[0-9][0-9A-Za-z]*\Z|[yYnN]\Z"), list("0123456789yYnN")
)


def to_document(adoption: Adoption) -> dict[str, Any]:
    """Return everything as plain data, dates in ISO 8601."""
    observed = adoption.observed
    return {
        "domain": observed.domain,
        "seen": observed.seen.isoformat(),
        "zone": {"name": observed.zone, "id": observed.records.id if observed.records else None},
        "published": adoption.published,
        "today": {
            "sts": _looked(observed.sts),
            "tlsrpt": _looked(observed.tlsrpt),
            "host": _looked(observed.host),
            "mx": _looked(observed.mx),
            "served": [
                {
                    "address": one.address,
                    "body": one.fetched.body.decode("utf-8", "replace") if one.fetched else None,
                    "problem": one.problem.message if one.problem else None,
                }
                for one in observed.served
            ],
        },
        "findings": [
            {"rule": found.rule, "path": found.path, "message": found.message, "severity": str(found.severity)}
            for found in adoption.findings
        ],
        "stack": adoption.config,
        "same_bytes": adoption.same_bytes,
        "record": {"now": adoption.records[0], "then": adoption.records[1]},
        "import": adoption.imports,
        "look_up": list(adoption.look_up),
        "steps": [
            {
                "title": step.title,
                "earliest": step.earliest.isoformat(),
                "why": step.why,
                "do": list(step.do),
                "call": step.call,
            }
            for step in adoption.steps
        ],
        "history_ends": adoption.history_ends.isoformat() if adoption.history_ends else None,
    }


def _looked(looked: Looked) -> dict[str, Any]:
    return {
        "name": looked.name,
        "cname": [hop.target for hop in looked.cnames],
        "values": list(looked.values),
        "ttl": looked.ttl,
        "problem": looked.problem or None,
    }


def to_json(adoption: Adoption) -> str:
    """Return the document as text."""
    return json.dumps(to_document(adoption), indent=2, ensure_ascii=False) + "\n"


def to_text(adoption: Adoption) -> str:
    """Return what a person reads, in Markdown that also reads well on a terminal."""
    lines = [f"# Moving {adoption.observed.domain} in", "", *_today(adoption), "", *_findings(adoption)]
    if adoption.config is not None:
        lines += ["", "## Stack configuration", "", "An entry of `mta-sts:domains` (stacks/schema.json):", ""]
        lines += _fenced(
            "yaml", yaml.dump([adoption.config], Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
        )
        lines += ["", *_notes(adoption)]
    if adoption.imports is not None:
        lines += [
            "",
            "## What can be imported",
            "",
            "`adopt: true` imports these records in the first update. To put them into the state before it, save this",
            "and run `pulumi import --file FILE --protect=false --generate-code=false`; keep `adopt: true`:",
            "",
            *_fenced("json", json.dumps(adoption.imports, indent=2)),
        ]
    if adoption.look_up:
        lines += [
            "",
            f"Ids in capitals are not known here ({adoption.observed.unread}). With a token of your own:",
            "",
            *_fenced("sh", "\n".join(adoption.look_up)),
        ]
    if adoption.steps:
        lines += ["", "## The order", "", "Dates are the earliest ones, if you begin now and go on at once.", ""]
        for number, step in enumerate(adoption.steps, start=1):
            lines += _step(number, step)
    return "\n".join(lines).rstrip() + "\n"


def _today(adoption: Adoption) -> Iterable[str]:
    observed = adoption.observed
    yield f"Seen on {observed.seen.isoformat()}" + (
        "." if observed.whole_ttls else "; some TTLs are what a resolver had left: the zones' servers can't be reached."
    )
    yield ""
    for looked in (observed.sts, observed.host, observed.tlsrpt, observed.mx):
        way = "".join(f" -> {hop.target}" for hop in looked.cnames)
        values = "; ".join(map(_printable, looked.values)) or ("not known" if looked.problem else "nothing")
        yield f"- {looked.name}{way}: {values}" + (f" (TTL {looked.ttl} s)" if looked.values else "")
    for one in observed.served:
        what = f"{one.fetched.policy.mode}, {len(one.fetched.body)} bytes" if one.fetched else "no policy"
        yield f"- https://mta-sts.{observed.domain} at {one.address}: {what}"


def _findings(adoption: Adoption) -> Iterable[str]:
    yield "## What is wrong today"
    yield ""
    if not adoption.findings:
        yield "Nothing was found."
    stopping = errors(adoption.findings)
    for found in [*stopping, *(found for found in adoption.findings if found not in stopping)]:
        yield f"- {_printable(str(found))}"


def _notes(adoption: Adoption) -> Iterable[str]:
    if adoption.same_bytes:
        yield "The stack serves the very bytes that are served today."
    elif adoption.config and adoption.config.get("history"):
        yield "The stack serves the same policy as today, in other bytes (order, case or line ends)."
    if adoption.records[1]:
        yield f"{_NEW_ID_WORDS}: `{adoption.records[1]}`."
    if adoption.history_ends:
        yield (
            "`history` is what senders may hold from today's host. It is over at the earliest on "
            f"{adoption.history_ends.isoformat()}. Policies that were replaced within their max_age before today "
            "can't be "
            "seen from outside: add them, newest first, with `until`."
        )


def _step(number: int, step: Step) -> Iterable[str]:
    yield f"{number}. **{step.title}** ({step.earliest.isoformat(timespec='minutes')})"
    yield f"   {step.why}"
    for each in step.do:
        yield f"   - {_printable(each)}"
    if step.call:
        yield ""
        yield f"   `{step.call['method']} {step.call['path']}`"
        yield ""
        for line in _fenced("json", json.dumps(step.call["body"], indent=2)):
            yield f"   {line}"
    yield ""


def _fenced(language: str, text: str) -> list[str]:
    return [f"```{language}", *text.rstrip("\n").split("\n"), "```"]


def _printable(text: str) -> str:
    """Return text, some of it from other people's servers, on one line and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
