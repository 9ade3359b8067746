"""`python -m sandbox walk`: from testing to enforce on evidence, each step shown and checked.

Its own world in a folder of its own: a project as a person has one, a stack file, reports in an inbox.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import time_machine

from mta_sts.cli import main as mta_sts
from mta_sts.fetch import fetch_policy, tls_context
from mta_sts.stack_file import set_mode
from sandbox.check import problems
from sandbox.deployment import ROOT, Deployment
from sandbox.reporting import Inbox, ReportingSender
from sandbox.senders import TEMPERAMENTS, WorldResolver
from sandbox.world.client import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from mta_sts.sender import Delivery

DOMAIN = "example.com"
STACK = f"""\
# The walk's stack: {DOMAIN} starts in testing.
config:
  aws:region: eu-west-1
  aws:allowedAccountIds:
    - "111111111111"
  mta-sts:domains:
    - domain: {DOMAIN} # two hosts of our own, mail is spread over both
      manage_mx: true
      mx:
        - host: mx1.{DOMAIN}
          preference: 10
        - host: mx2.{DOMAIN}
          preference: 10
      max_age: 604800 # a week
      reports: mailto:tls-reports@{DOMAIN}
"""
_FAULTY = f"mx2.{DOMAIN}"
_INBOX_HOST = "reports.example.com"
_DAY = 86_400
_MAILS_A_DAY = 4
_BAD_DAYS = 3
_GOOD_DAYS = 8


class UnexpectedError(Exception):
    """A step of the walk that did not go as it should."""


class Walk:
    """One walk: what it deploys to, who sends, and where reports arrive."""

    def __init__(self, folder: Path, world: World, say: Callable[[str], None]) -> None:
        self._world = world
        self._say = say
        self._step = 0
        self._project = folder / "project"
        self._stack = self._project / "stacks" / "Pulumi.walk.yaml"
        self._inbox = Inbox(folder / "reports", _INBOX_HOST)
        self._senders = [ReportingSender(world, f"{name}.example", kind) for name, kind in TEMPERAMENTS.items()]
        self._evidence = self._project / "stacks" / "evidence" / f"{DOMAIN}.json"
        self._plan = folder / "plan.json"
        self._ports = folder / "ports.json"
        self._fixed_on = ""
        self._stack.parent.mkdir(parents=True)
        for name in ("Pulumi.yaml", "__main__.py", "stacks/schema.json"):
            shutil.copy(ROOT / name, self._project / name)
        self._stack.write_text(STACK, encoding="utf-8")

    def go(self) -> None:
        """Take every step; raises UnexpectedError at the first that is not as it should be."""
        self.publish_in_testing()
        self.send_while_one_host_is_wrong()
        self.evidence_names_the_host()
        self.enforce_is_refused()
        self.fix_and_wait()
        self.evidence_is_enough()
        self.promote()
        self.review_says_safe()
        self.enforce()
        self.enforced_mail_keeps_away_from_a_wrong_host()

    def publish_in_testing(self) -> None:
        """Deploy the stack as it is."""
        self._title(f"`pulumi up`: {DOMAIN} in testing, max_age one week")
        done = Deployment(self._world, self._project, stack="walk").up()
        self._expect(done.ok, done.errors)
        self._expect(not problems(self._world, DOMAIN), "what is published is whole")
        self._show(self._served().decode())

    def send_while_one_host_is_wrong(self) -> None:
        """Let days pass in which one host shows a certificate for another name; testing holds no mail back."""
        self._title(f"{_BAD_DAYS} days pass; {_FAULTY} shows a certificate for another name; reports arrive")
        self._world.fault("mail", _FAULTY, "wrong-name")
        self._let_days_pass(_BAD_DAYS)

    def evidence_names_the_host(self) -> None:
        """Ask whether that is enough."""
        self._title("`mta-sts evidence`: refuses, and names the MX host")
        code, said = self._make_evidence()
        self._expect(code == 1 and f"certificate-host-mismatch@{_FAULTY}" in said, "evidence is short, the host named")

    def enforce_is_refused(self) -> None:
        """Try both ways: the command, and an edit by hand."""
        self._title("`mta-sts promote` refuses; so does `pulumi preview` with the mode changed by hand")
        code, said = self._promote()
        self._expect(code == 1 and "at the earliest" in said, "promote refuses, and says when it can be")
        self._expect(self._stack.read_text(encoding="utf-8") == STACK, "the stack file is as it was")
        self._stack.write_text(set_mode(STACK, 0, "enforce"), encoding="utf-8")
        planned = Deployment(self._world, self._project, stack="walk").preview()
        self._stack.write_text(STACK, encoding="utf-8")
        self._show(planned.errors)
        self._expect(not planned.ok and _FAULTY in planned.errors, "the preview refuses and names the host")

    def fix_and_wait(self) -> None:
        """Put the certificate right, and let clean days pass."""
        self._title(f"the certificate of {_FAULTY} is put right; {_GOOD_DAYS} clean days pass")
        self._world.clear_faults()
        # The reports end with yesterday: that was the last day that saw it.
        self._fixed_on = (self._today() - timedelta(days=1)).isoformat()
        self._let_days_pass(_GOOD_DAYS)

    def evidence_is_enough(self) -> None:
        """Ask again, and say what was fixed."""
        self._title("`mta-sts evidence --fixed …`: enough")
        code, said = self._make_evidence(
            "--fixed", f"certificate-host-mismatch@{_FAULTY}={self._fixed_on}:certificate with the right name installed"
        )
        self._expect(code == 0 and "enough for enforce" in said, "the evidence is enough")

    def promote(self) -> None:
        """Edit the stack file, and show the pull request's text."""
        self._title("`mta-sts promote`: the stack file is edited; this is the pull request")
        code, said = self._promote()
        self._expect(code == 0 and f"# Enforce MTA-STS for {DOMAIN}" in said, "promoted")
        self._expect(self._stack.read_text(encoding="utf-8") == set_mode(STACK, 0, "enforce"), "only the mode changed")

    def review_says_safe(self) -> None:
        """Plan, and let the pull request's review judge the plan."""
        self._title("`pulumi preview`, then `mta-sts review` of the plan: safe, and on what it rests")
        planned = Deployment(self._world, self._project, stack="walk").preview_json(self._plan)
        self._expect(planned.ok, planned.errors)
        code, said = self._run(["review", str(self._plan)])
        self._expect(code == 0 and f"{DOMAIN}: safe" in said, "the plan is safe")
        self._expect("told by diligent.example; " in said, "the review names who signed the evidence")

    def enforce(self) -> None:
        """Update, and let every sender deliver."""
        self._title("`pulumi up`: enforce is live, and mail arrives")
        deployment = Deployment(self._world, self._project, stack="walk")
        done = deployment.up()
        self._expect(done.ok, done.errors)
        self._expect(deployment.preview().changes == [], "a second preview plans nothing")
        self._expect(not problems(self._world, DOMAIN), "what is published is whole")
        self._expect(b"mode: enforce" in self._served(), "the served policy enforces")
        modes = {sender.organization: str(self._sent(sender).mode) for sender in self._senders}
        self._say(f"  delivered: {', '.join(f'{name} under {mode}' for name, mode in modes.items())}")
        # The lazy one holds the testing policy until it expires.
        self._expect(modes["diligent.example"] == "enforce", "a sender that looks follows at once")

    def enforced_mail_keeps_away_from_a_wrong_host(self) -> None:
        """Show what enforce is for."""
        preferred = f"mx1.{DOMAIN}"
        self._title(f"{preferred} shows a wrong certificate: senders in enforce deliver to the other host")
        self._world.fault("mail", preferred, "wrong-name")
        delivery = self._sent(self._senders[0])
        self._say(f"  delivered to {delivery.host}; not used: {', '.join(delivery.skipped)}")
        self._expect(delivery.skipped == (preferred,), "the wrong host is skipped")

    def _let_days_pass(self, days: int) -> None:
        for _ in range(days):
            today = self._today()
            for sender in self._senders:
                for _ in range(_MAILS_A_DAY):
                    self._sent(sender)
            self._world.advance(_DAY)
            for sender in self._senders:
                mail = sender.report(DOMAIN, today)
                self._expect(mail is not None, f"{sender.organization} reports about {today}")
                self._inbox.receive(mail or b"", sender.published_key)
        arrived = len(list(self._inbox.folder.iterdir()))
        self._say(f"  it is {self._today()}; {arrived} reports have arrived, signed by their senders")

    def _sent(self, sender: ReportingSender) -> Delivery:
        delivery = sender.deliver(DOMAIN)
        self._expect(delivery.outcome == "delivered", f"{sender.organization}: {delivery.outcome} {delivery.reason}")
        return delivery

    def _make_evidence(self, *more: str) -> tuple[int, str]:
        self._ports.write_text(json.dumps(self._world.port_map()), encoding="utf-8")
        places = self._world.endpoints
        return self._run(
            ["evidence", DOMAIN, "--reports", str(self._inbox.folder), "--trust-authserv", _INBOX_HOST,
             "--resolver", f"{places.dns['address']}:{places.dns['port']}", "--ca-file", places.ca_file,
             "--port-map", str(self._ports), "-o", str(self._evidence), *more]
        )  # fmt: skip

    def _promote(self) -> tuple[int, str]:
        return self._run(["promote", DOMAIN, "--stack", str(self._stack), "--evidence", str(self._evidence)])

    def _run(self, arguments: list[str]) -> tuple[int, str]:
        """Run a command of `mta-sts` at the sandbox's time; return its exit code and what it said."""
        said = io.StringIO()
        with (
            time_machine.travel(self._world.now(), tick=False),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            code = mta_sts(arguments)
        self._show(said.getvalue() + f"exit code {code}")
        return code, said.getvalue()

    def _served(self) -> bytes:
        context = tls_context(Path(self._world.endpoints.ca_file))
        address = WorldResolver(self._world).addresses(f"mta-sts.{DOMAIN}")[0]
        return fetch_policy(DOMAIN, address, self._world.endpoints.edge[address], context=context).body

    def _today(self) -> date:
        return datetime.fromtimestamp(self._world.now(), UTC).date()

    def _title(self, text: str) -> None:
        self._step += 1
        self._say(f"\n{self._step}. {text}")

    def _show(self, text: str) -> None:
        self._say("\n".join(f"  | {line}" for line in text.rstrip().splitlines()))

    def _expect(self, held: bool, what: str) -> None:
        if not held:
            raise UnexpectedError(f"step {self._step} did not go as it should: {what}")


def take_walk(folder: Path, say: Callable[[str], None]) -> None:
    """Take the walk in a folder that is its own; raises UnexpectedError where a step is not as it should be."""
    with World(folder / "sandbox") as world:
        Walk(folder, world, say).go()
