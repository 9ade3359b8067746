"""The dated steps of replacing all MX hosts of a domain, worked out with what the component itself will ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mta_sts.domain_config import MxEntry
from mta_sts.ledger import FETCH_SECONDS, ID_METADATA, LIVE_METADATA, LiveId, PolicyVersion, held_policies, known_from
from mta_sts.mx_life_cycle import LiveMx, needed_hosts, retiring_hosts
from mta_sts.policy import Mode, render_policy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mta_sts.domain_config import DomainConfig

_UP = "`pulumi up`"


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """What to do, not before `when`, and what it is for; `declare` are the settings of the domain to write, if any."""

    when: datetime
    do: str
    why: str
    declare: dict[str, object]


def migration(config: DomainConfig, to: Sequence[str], now: datetime, meanwhile: int) -> list[MigrationStep]:
    """Return the steps from `config`, taken as published for long, to the MX hosts `to` (A-labels), as of `now`.

    `meanwhile` is the max_age, in seconds, while hosts change: a shorter one is kept. A step that comes later than
    its date moves those after it by as much.
    """
    domain = _Domain(config)
    moment = now.timestamp()
    steps: list[MigrationStep] = []

    def add(do: str, why: str, **declare: object) -> None:
        steps.append(MigrationStep(datetime.fromtimestamp(moment, UTC), do, why, declare))

    lowered = config.mode is Mode.ENFORCE and meanwhile < config.max_age
    if lowered:
        domain.publish(replace(config, max_age=meanwhile), moment)
        add(_UP, "what senders fetch from now on, they keep for a shorter time", max_age=meanwhile)
        moment = domain.replaced(moment)
    target = replace(config, mx=tuple(MxEntry(host) for host in to), max_age=meanwhile if lowered else config.max_age)
    domain.publish(target, moment)
    hosts = ", ".join(to)
    both = "the policy lists the former hosts and the new ones"
    if config.manage_mx:
        declared = [{"host": host, "preference": 10 * place} for place, host in enumerate(to, 1)]
        add(_UP, f"{both}; the former stay in DNS", mx=declared)
    else:
        add(_UP, both, mx=[*(entry.host for entry in config.mx), *to])
    began, moment = moment, domain.known()
    if not config.manage_mx:
        add(f"add MX records for {hosts}", "every sender that looks knows the policy that lists them")
    elif moment - began > config.wait_limit:
        add(_UP, f"the MX records of {hosts} enter DNS (in the update before, it would wait longer than `wait_limit`)")
    domain.add(to, moment)
    moment = domain.done(to, moment)
    former = ", ".join(entry.host for entry in config.mx)
    nobody = "no policy that lists none of the new hosts can be held any more"
    if config.manage_mx:
        add(_UP, f"{nobody}: {former} leave DNS")
    else:
        add(f"delete the MX records of {former}", nobody)
    alone = {} if config.manage_mx else {"mx": list(to)}
    if config.mode is Mode.ENFORCE:
        add(_UP, "it notes that they are gone; caches may still give them", **alone)
        moment, alone = moment + config.mx_ttl + FETCH_SECONDS, {}
    add(_UP, "the policy lists the new hosts alone", **alone)
    if lowered:
        add(_UP, "as before", max_age=config.max_age)
    return steps


class _Domain:
    """A domain as it would stand, moved on update by update."""

    def __init__(self, config: DomainConfig) -> None:
        self._ttls = config.mx_ttl, config.txt_ttl
        self._live = [LiveMx(entry.host, 0.0, config.mx_ttl) for entry in config.mx]
        self._versions = [PolicyVersion("", {ID_METADATA: "0"}, body=render_policy(config.policy).decode())]
        self._versions += config.history
        self._id = LiveId("0", 0.0, config.txt_ttl)

    def publish(self, config: DomainConfig, now: float) -> None:
        """Replace policy and id as the component would."""
        retiring = retiring_hosts([entry.host for entry in config.mx], self._live, self._versions[0])
        body = render_policy(replace(config.policy, mx=(*config.policy.mx, *retiring))).decode()
        following = str(int(self._id.id) + 1)
        noted = {ID_METADATA: following, LIVE_METADATA: str(self._id)}
        self._versions.insert(0, PolicyVersion("", noted, now, body))
        self._id = LiveId(following, now, self._ttls[1])

    def replaced(self, now: float) -> float:
        """Return from when nobody holds a policy of before the last update."""
        held = held_policies(self._versions, self._id, now)
        return max((one.until for one in held if one.id != self._id.id and one.until is not None), default=now)

    def known(self) -> float:
        """Return when every sender that looks knows the policy."""
        return known_from(self._versions, self._id)

    def add(self, hosts: Sequence[str], now: float) -> None:
        """Put MX hosts into DNS."""
        self._live += [LiveMx(host, now, self._ttls[0]) for host in hosts]

    def done(self, declared: Sequence[str], now: float) -> float:
        """Return from when no other host is needed."""
        while needed := needed_hosts(declared, self._live, self._versions, self._id, now):
            now = max(one.until for one in needed if one.until is not None)
        return now
