"""Run the campaign: a cell is one place of interruption and all that may follow, for all changes at once.

A cell deploys every domain's change in one update that goes on after errors; a fault stops each domain at the same
step of its own. The world and the state before the change are made once and copied; so are those after the
interruption, for each that follows.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import signal
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import yaml

from mta_sts.cli import main as mta_sts_command
from mta_sts.safety import Tally, circumstances, replay
from mta_sts.sender import temperaments
from sandbox.chaos.changes import CHANGES, DAY, ZONE, DomainChange, host
from sandbox.chaos.control import usual_style
from sandbox.chaos.witness import Testimony, testify
from sandbox.deployment import ROOT, Deployment, Outcome, end_orphans, engine_processes, sparing
from sandbox.world.client import World
from sandbox.world.internet import ACCOUNT, TOKEN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLLOWED_BY = ("nothing", "a retry at once", "a retry after max_age", "a roll-back")
_LONGEST = 31 * DAY
_MOST_RETRIES = 9
_SHARE = 101
"""Each time-line meets one in so many of all senders, others each time.

A prime: senders are listed by their properties, and a number that divides the list would take one kind alone.
"""


@dataclass(frozen=True, slots=True)
class Interruption:
    """What goes wrong: the domain's n-th call that changes something (0: none) is refused, or its answer lost.

    Or the distribution can't be changed (`host`), or somebody updates the record of the id alone (`target`). It goes
    wrong in the update of that number: a change that removes MX hosts takes several.
    """

    call: int = 0
    kind: str = "denied"
    update: int = 1

    def __str__(self) -> str:
        if not self.call:
            return "none"
        if self.kind == "kill":
            return f"engine killed at step {self.call} of update {self.update}"
        if self.kind == "target":
            return "the record of the id alone"
        if self.kind == "host":
            return "the distribution's change refused"
        place = f" of update {self.update}" if self.update > 1 else ""
        return f"call {self.call}{place} {'refused' if self.kind == 'denied' else 'done, answer lost'}"


INTERRUPTIONS = (
    *(Interruption(call) for call in range(7)),
    *(Interruption(call, "drop-after") for call in range(1, 6)),
    *(Interruption(1, kind, update) for update in (2, 3) for kind in ("denied", "drop-after")),
    Interruption(1, "host"),
    Interruption(1, "target"),
)
_GONE = "Record does not exist. (81044)"
"""What the provider says of a record that it deleted, where the answer was lost: it tolerates that after a refresh."""
KILLS = (
    *((0, step) for step in range(1, 24)),
    *((1, step) for step in range(1, 7)),
    *((update, step) for update in (2, 3) for step in (1, 2)),
)
"""Where the engine is killed: (update, step); update 0 is a domain's first deployment, the others make its change."""


@dataclass(frozen=True, slots=True)
class Life:
    """What the outside saw of one domain in one cell."""

    change: str
    interruption: str
    followed_by: str
    since: float
    events: tuple[str, ...]
    complete: bool
    stopped: bool
    """Whether the interruption met it."""

    @property
    def line(self) -> str:
        """A digest of the time-line alone: two lives that look alike from outside are judged once."""
        text = json.dumps([self.events, round(self.since), self.complete])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(slots=True)
class Row:
    """What the campaign says of one change."""

    runs: int = 0
    stopped: int = 0
    lines: set[str] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)


class Stage:
    """A world and a stack in a folder of their own, with a program that declares the domains of changes.

    With `killed`, the engine notes each step in its state: somebody will end it in mid-update.
    """

    def __init__(
        self, folder: Path, changes: Sequence[DomainChange], *, control: bool = False, killed: bool = False
    ) -> None:
        self.world = World(folder)
        self.changes = changes
        self._control = control
        self._killed = killed
        self._environment: dict[str, str] = {}
        self._ending = contextlib.ExitStack()
        self._adopting: set[str] = set()
        self._retracting: set[str] = set()

    def __enter__(self) -> Self:
        self._ending.callback(self.world.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def declare(self, *, after: bool) -> Deployment:
        """Return the deployment of what is declared before or after the changes."""
        if not self._killed and not self._environment:
            self._environment = self._ending.enter_context(sparing(self.world))
        declared = [change.declared(after=after) or self._retracted(change) for change in self.changes]
        domains = [domain for domain in declared if domain is not None]
        for domain in domains:
            if domain["domain"] in self._adopting:
                domain["adopt"] = True
        config = {
            "aws:region": "eu-west-1",
            "aws:allowedAccountIds": [ACCOUNT],
            "mta-sts:host": {"certificate_names": 100},
            "mta-sts:domains": domains,
        }
        file = self.world.folder / "Pulumi.sandbox.yaml"
        file.write_text(yaml.safe_dump({"config": config}), encoding="utf-8")
        program = (lambda: usual_style(domains)) if self._control else ROOT
        return Deployment(self.world, program, config=file, environment=self._environment, outputs=False)

    def _retracted(self, change: DomainChange) -> dict[str, Any] | None:
        """Return a domain that may not go yet as it is taken back first."""
        declared = change.declared(after=True) if change.domain in self._retracting else None
        return declared and declared | {"mode": "none", "max_age": DAY}

    def up(self, *, after: bool = True, **options: Any) -> Outcome:
        """Update; where the answer names a way out, take it.

        What an interrupted update left beside the state, or let go of, is adopted; a protected domain is retracted.
        """
        made = self.declare(after=after).up(continue_on_error=True, **options)
        adopting = {change.domain for change in self.changes if _asks_to_adopt(made, change.domain)}
        retracting = {change.domain for change in self.changes if _is_protected(made, change.domain)}
        if adopting - self._adopting or retracting - self._retracting:
            self._adopting |= adopting
            self._retracting |= retracting
            return self.up(after=after, **options)
        return made

    def settle(self, seconds: float, *, after: bool = True) -> None:
        """Make one of the updates that a change takes, and let time pass; raises RuntimeError where it fails."""
        made = self.up(after=after)
        if not made.ok:
            raise RuntimeError(made.errors)
        self.world.advance(seconds)

    def copied(self, folder: Path) -> Stage:
        """Return a stage in a copy of this one's folder, which must have been left."""
        _copy(self.world.folder, folder)
        copy = Stage(folder, self.changes, control=self._control)
        copy._adopting, copy._retracting = set(self._adopting), set(self._retracting)
        return copy

    def recover(self) -> None:
        """Mend the state after a kill, as `mta-sts recover --yes` does; raises RuntimeError if not all of it."""
        end_orphans(self.world.folder)
        command = ["recover", "--stack", "sandbox", "--cwd", str(self.world.folder / "work"), "--yes"]
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            code = mta_sts_command(command)
        if code:
            raise RuntimeError(said.getvalue())

    def interrupt(self, interruption: Interruption) -> None:
        """Let the n-th changing call of every domain fail."""
        if not interruption.call or interruption.kind == "target":
            return
        if interruption.kind == "host":
            self.world.fault("api", "cloudfront PUT ", "denied", times=1)
            return
        for change in self.changes:
            name = re.escape(change.domain)
            ids = "|".join(record["id"] for record in self._records(change.domain)) or "none"
            # A call that deletes a record names it by id alone.
            # Not the record that proves a certificate: without it no domain of the host would go on.
            record = rf'"name": ?"((_mta-sts|_smtp\._tls|mta-sts)\.)?{name}"'
            pattern = f"cloudflare (POST|PUT|PATCH) .*{record}|cloudflare DELETE .*/({ids})|s3 PUT /[^/]+/{name}/"
            self.world.fault("api", pattern, interruption.kind, skip=interruption.call - 1, times=1)

    def _records(self, domain: str) -> list[dict[str, Any]]:
        # Not the record that proves a certificate, here neither.
        names = re.compile(rf"((_mta-sts|_smtp\._tls|mta-sts)\.)?{re.escape(domain)}")
        every = self.ask("GET", f"/zones/{self.zone}/dns_records?per_page=5000")
        return [record for record in every if names.fullmatch(record["name"])]

    @property
    def zone(self) -> str:
        """The id of the zone of every domain."""
        return str(self.ask("GET", f"/zones?name={ZONE}")[0]["id"])

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the Cloudflare API, as another team would."""
        import urllib.request  # noqa: PLC0415

        request = urllib.request.Request(  # noqa: S310  our own loopback address
            f"{self.world.endpoints.cloudflare}{path}",
            json.dumps(body).encode() if body else None,
            {"Authorization": f"Bearer {TOKEN}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)["result"]

    def add_mx(self, domain: str, labels: Sequence[str]) -> None:
        """Add MX records, as another team would."""
        for label in labels:
            body = {"type": "MX", "name": domain, "content": host(label), "priority": 10, "ttl": 300}
            self.ask("POST", f"/zones/{self.zone}/dns_records", body)

    def remove_mx(self, domain: str, labels: Sequence[str]) -> None:
        """Remove MX records, as another team would."""
        for record in self._records(domain) if labels else ():
            if record["type"] == "MX" and record["content"] in map(host, labels):
                self.ask("DELETE", f"/zones/{self.zone}/dns_records/{record['id']}")

    def lives(
        self, since: float, interruption: Interruption, followed_by: str, *, failed: set[str], complete: bool
    ) -> list[Life]:
        """Return what the outside saw of each domain; `failed` are those that the interruption met."""
        seen: dict[str, list[str]] = defaultdict(list)
        for event in self.world.timeline():
            if event["domain"].endswith(f".{ZONE}"):
                seen[event["domain"]].append(_plain(event, since))
        return [
            Life(
                change=change.name,
                interruption=str(interruption),
                followed_by=followed_by,
                since=0.0,
                events=tuple(seen[change.domain]),
                complete=complete or change.domain not in failed,
                stopped=change.domain in failed,
            )
            for change in self.changes
        ]


def _plain(event: dict[str, Any], since: float) -> str:
    """Return an event as counted from the change, without what differs from domain to domain."""
    value = event["value"]
    if event["kind"] == "txt" and value is not None:
        value = re.sub(r"(?<=id=)\w+", lambda found: found[0][:32], value)
    return json.dumps([round(event["t"] - since), event["kind"], value, event["ttl"]])


def prepare(folder: Path, changes: Sequence[DomainChange] = CHANGES, *, control: bool = False) -> None:
    """Make the world and the stack as they are before the changes; raises RuntimeError where that fails."""
    with Stage(folder, changes, control=control) as stage:
        for change in changes:
            stage.add_mx(change.domain, change.standing)
        for _ in range(2):  # the second time lets what was new settle
            stage.settle(DAY, after=False)


def run_cell(
    prepared: Path,
    folder: Path,
    interruption: Interruption,
    follow: Sequence[str],
    changes: Sequence[DomainChange] = CHANGES,
    *,
    control: bool = False,
) -> list[Life]:
    """Interrupt the changes in a copy of a prepared folder; return what the outside saw, whatever follows."""
    _copy(prepared, folder)
    try:
        with Stage(folder, changes, control=control) as stage:
            since = stage.world.now()
            for change in changes:
                stage.add_mx(change.domain, change.by_hand)
                stage.remove_mx(change.domain, change.taken)
            for _ in range(interruption.update - 1):
                stage.settle(12 * DAY)
            stage.interrupt(interruption)
            deployment = stage.declare(after=True)
            options = {"target": _id_records(deployment)} if interruption.kind == "target" else {}
            made = deployment.up(continue_on_error=True, **options)
            failed = _failed(made, changes)
            if not made.ok and interruption.kind == "host":
                failed |= {change.domain for change in changes if change.before is None}
            if not made.ok and not (failed and interruption.call):
                raise RuntimeError(made.errors)
            stage.world.clear_faults()
        lives: list[Life] = []
        for number, what in enumerate(follow):
            with stage.copied(folder / f"followed-{number}") as following:
                _follow(following, what)
                complete = what != "nothing"
                lives += following.lives(since, interruption, what, failed=failed, complete=complete)
        return lives
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _follow(stage: Stage, what: str) -> None:
    """Do what follows on an interrupted update, and let time pass."""
    if what == "a retry after max_age":
        stage.world.advance(_LONGEST)
    if what == "a roll-back":
        for change in stage.changes:
            stage.add_mx(change.domain, change.taken)
            stage.remove_mx(change.domain, change.by_hand)
    if what == "a retry at once":
        _until_done(stage, refresh=True, wait=12 * DAY)
    elif what != "nothing":
        _until_done(stage, after=what != "a roll-back")
    stage.world.advance(_LONGEST)


def _copy(folder: Path, to: Path) -> None:
    """Copy a world that is stopped, and its stack."""
    passing = shutil.ignore_patterns("world.json", "*.lock", "lock", "followed-*")
    shutil.copytree(folder, to, symlinks=True, ignore=passing)


def _id_records(deployment: Deployment) -> list[str]:
    return [one["urn"] for one in deployment.resources() if one["urn"].endswith("-sts-record")]


def _until_done(stage: Stage, *, after: bool = True, refresh: bool = False, wait: float = _LONGEST) -> None:
    """Update until nothing is left to do: what is held back comes with time. Raises RuntimeError if that never is.

    The second update comes too early, the others when `wait` seconds have passed: what those have left to do counts.
    """
    for number in range(_MOST_RETRIES):
        made = stage.up(after=after, refresh=refresh)
        if made.ok and not made.changes and number > 1:
            return
        refresh = _GONE in made.errors
        stage.world.advance(wait if number else 900)
    raise RuntimeError(f"still not done after {_MOST_RETRIES} updates: {made.summary()}\n{made.errors}")


def _asks_to_adopt(outcome: Outcome, domain: str) -> bool:
    """Whether an update found a record of a domain that is not in its state."""
    at_plan_time = rf" {re.escape(domain)} .*exists already and was not made here"
    return f'"{domain}-no-second-record"' in outcome.errors or bool(re.search(at_plan_time, outcome.errors))


def _is_protected(outcome: Outcome, domain: str) -> bool:
    """Whether the engine kept a domain that is declared no more."""
    return bool(re.search(rf"::{re.escape(domain)}-\S+\" cannot be deleted\s+because it is protected", outcome.errors))


def _failed(outcome: Outcome, changes: Sequence[DomainChange]) -> set[str]:
    """Return the domains of which a step failed."""
    names = [urn.rpartition("::")[2] for urn in outcome.failed]
    return {change.domain for change in changes if any(name.startswith(f"{change.domain}-") for name in names)}


def run_kill(prepared: Path, folder: Path, update: int, step: int, change: DomainChange) -> list[Life]:
    """Kill the engine as it begins a step of an update (see `KILLS`), then update until nothing is left to do.

    Returns nothing where there are fewer steps.
    """
    if update:
        _copy(prepared, folder)
    killed = False

    def kill(outcome: Outcome, _: object) -> None:
        nonlocal killed
        if len(outcome.changes) >= step and not killed:
            killed = True
            for pid in engine_processes(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    # The SDK's thread says so whenever it sees that the engine is gone.
    warnings.filterwarnings("ignore", "Error in event stream")
    try:
        with Stage(folder, [change]) as stage:
            since = stage.world.now()
            for _ in range(update - 1):
                stage.settle(12 * DAY)
        with Stage(folder, [change], killed=True) as stage:
            stage.declare(after=True).up(on_event=kill)
            if not killed:
                return []
            stage.recover()
        with Stage(folder, [change]) as stage:
            _until_done(stage)
            stage.world.advance(_LONGEST)
            place = Interruption(step, "kill", update)
            return stage.lives(since, place, "a retry at once", failed={change.domain}, complete=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judge(life: Life, share: int = _SHARE) -> Tally:
    """Let one in so many of all senders live through what the outside saw."""
    events = [
        {"t": t, "domain": ZONE, "kind": kind, "value": value, "ttl": ttl}
        for t, kind, value, ttl in map(json.loads, life.events)
    ]
    start = int(life.line, 16) % share
    everyone = [(kind, are) for kind in temperaments() for are in circumstances()]
    since = max(life.since, _deliverable_from(events))
    return replay(events, everyone[start::share], since=since, complete=life.complete)


def _deliverable_from(events: Sequence[dict[str, Any]]) -> float:
    """Return from when mail can reach a domain that began without an MX host and is known to have had none."""
    absence_kept = 0.0
    for event in (event for event in events if event["kind"] == "mx"):
        if event["value"]:
            return float(event["t"] + absence_kept)
        absence_kept = event["ttl"]
    return float("inf")


def witness(life: Life) -> Testimony:
    """Let the independent sender live through it as well."""
    return testify(life.events, complete=life.complete)
