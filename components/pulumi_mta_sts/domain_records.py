"""The records of one domain: which they are, what they wait for, and how long they stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pulumi

from mta_sts import render_sts_record, render_tlsrpt_record, txt_presentation
from pulumi_mta_sts import dns
from pulumi_mta_sts.barriers import edge_serves, id_is_noted, policy_is_current

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import pulumi_aws as aws

    from pulumi_mta_sts.judgement import Judged


class DomainRecords:
    """What a component registers in DNS, record by record, each by its role."""

    def __init__(
        self,
        component: pulumi.Resource,
        name: str,
        judged: Judged,
        *,
        target: pulumi.Input[str],
        here_already: Collection[str],
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        """Take what was judged; `here_already` are the names of resources that the stack's state has."""
        self._component = component
        self._name = name
        self._judged = judged
        self._here_already = here_already
        self._wanted = _wanted_records(judged, target)
        self._kept = {f"mx-{record.content}" for record in judged.kept}
        self._look_first = dns.no_second_record(f"{name}-no-second-record", opts)
        self._served_first = edge_serves(f"{name}-edge-serves", judged, target, opts)
        self._known_first = policy_is_current(f"{name}-policy-is-current", judged, opts)

    def due(self) -> list[str]:
        """Return the roles that are not registered yet and not held back, in the order in which they may appear."""
        return [role for role in self._wanted if role not in self._judged.held_back]

    def register(
        self,
        role: str,
        after: Sequence[pulumi.Input[pulumi.Resource]],
        policy: aws.s3.BucketObjectv2 | None = None,
    ) -> pulumi.Resource:
        """Register the record of one role; `policy` is the policy's object, where that comes before."""
        judged, config = self._judged, self._judged.config
        declared_mx = role.startswith("mx-") and not (config.manage_mx and role in self._kept)
        # What is only imported so far may still fall out of the program, and then stays as others made it.
        held_mx = declared_mx and config.manage_mx and role not in judged.adopting
        wanted_here = config.adopt and f"{self._name}-{role}" not in self._here_already
        standing = judged.existing.get(role) if wanted_here else None
        made: pulumi.Resource = dns.make(
            f"{self._name}-{role}",
            judged.zone_id,
            self._wanted.pop(role),
            pulumi.ResourceOptions(
                parent=self._component,
                depends_on=after,
                import_=f"{standing.zone_id}/{standing.id}" if standing else None,
                hooks=self._hooks(role, policy),
                # A declared MX host stays in DNS whatever becomes of this stack; see `judgement._kept`.
                retain_on_delete=declared_mx,
                # The engine keeps what a protected resource depends on as well: policy, host, report address.
                protect=judged.protected and (role == "sts-record" or held_mx),
            ),
            # One of ours that is not in the state (its creation was interrupted) comes in as it is, too.
            adopting=standing if role in self._kept else judged.adopting.get(role),
        )
        return made

    def _hooks(self, role: str, policy: aws.s3.BucketObjectv2 | None) -> pulumi.ResourceHookBinding:
        """Return what must hold before the record of a role is made or changed."""
        if role == "sts-record":
            first = [self._served_first]
            if policy is not None and not self._judged.notes_stay:
                first.insert(0, id_is_noted(f"{self._name}-id-is-noted", self._judged, policy.metadata))
            return pulumi.ResourceHookBinding(before_create=[self._look_first, *first], before_update=[*first])
        if role.startswith("mx-"):
            return pulumi.ResourceHookBinding(before_create=[self._look_first, self._known_first])
        return pulumi.ResourceHookBinding(before_create=[self._look_first])


def _wanted_records(judged: Judged, target: pulumi.Input[str]) -> dict[str, dns.Record]:
    """Return the records by role, in the order in which they may appear."""
    config = judged.config
    domain = config.domain
    host_ttl = judged.host_ttl(target)
    wanted = {"policy-host": dns.Record(name=f"mta-sts.{domain}", type="CNAME", content=target, ttl=host_ttl)}
    if config.reports:
        text = render_tlsrpt_record(config.reports)
        wanted["tlsrpt-record"] = dns.Record(
            name=f"_smtp._tls.{domain}", type="TXT", content=txt_presentation(text), ttl=config.txt_ttl
        )
    wanted["sts-record"] = dns.Record(
        name=f"_mta-sts.{domain}",
        type="TXT",
        content=txt_presentation(render_sts_record(judged.policy_id)),
        ttl=config.txt_ttl,
    )
    if config.manage_mx:
        for entry in config.mx:
            # By host, never by index: reordering the list changes nothing.
            wanted[f"mx-{entry.host}"] = dns.Record(
                name=domain, type="MX", content=entry.host, ttl=config.mx_ttl, priority=entry.preference
            )
    for record in judged.kept:
        wanted[f"mx-{record.content}"] = dns.Record(
            name=domain,
            type="MX",
            content=record.content,
            ttl=record.ttl,
            priority=record.priority,
            comment=dns.LEAVING if config.manage_mx else dns.HANDED_OVER,
        )
    return wanted
