"""Whether a change to a domain's MTA-STS and MX can harm any RFC 8461 sender, and time-lines that show it."""

from mta_sts.safety.model import Change, Earlier, Kind, Publication, Step, World
from mta_sts.safety.prover import Failure, Harm, Skip, Verdict, prove
from mta_sts.safety.simulator import Cache, Circumstances, Tally, circumstances, replay

__all__ = [
    "Cache",
    "Change",
    "Circumstances",
    "Earlier",
    "Failure",
    "Harm",
    "Kind",
    "Publication",
    "Skip",
    "Step",
    "Tally",
    "Verdict",
    "World",
    "circumstances",
    "prove",
    "replay",
]
