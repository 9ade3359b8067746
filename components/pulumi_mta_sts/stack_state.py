"""What the stack's own state holds already. A program can't see it; the engine's own function can be asked."""

import pulumi

from mta_sts import Finding, MtaStsError
from pulumi_mta_sts.live import once_a_run

_FUNCTION = "pulumi:pulumi:readStackResourceOutputs"
_RECORD = "mta-sts:index:MtaSts$cloudflare:index/dnsRecord:DnsRecord"


def names_in_state() -> frozenset[str]:
    """Return the names of the domains' DNS records that are in this stack's state, read once a run.

    A record that is there must not be imported: its id in the state is not the one that an import takes, so the
    engine imports a second time, "replaces", and deletes the record, which is the same one, at Cloudflare.
    Raises MtaStsError where the state can't be read.
    """
    return once_a_run(("names-in-state",), _read)


def _read() -> frozenset[str]:
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    try:
        answer = pulumi.runtime.invoke(_FUNCTION, {"stackName": stack}).value
        urns = list((answer or {})["outputs"])
    except Exception as error:
        message = (
            f"the state of {stack} can't be read ({' '.join(str(error).split())[-200:]}), and a record that is in it "
            "must not be imported again; run it again, or leave `adopt` out where everything is adopted"
        )
        raise MtaStsError("state", [Finding("state-unreadable", "adopt", message)]) from error
    parts = [urn.split("::") for urn in urns]
    return frozenset(part[-1] for part in parts if part[2].endswith(_RECORD))
