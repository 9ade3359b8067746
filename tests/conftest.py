"""What every test may ask for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples on each machine; `HYPOTHESIS_PROFILE=search make test` draws new ones.
# No test is timed: what is slow on a busy machine is not wrong.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("repeatable"), derandomize=False, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

VECTORS = "MTA_STS_VECTORS"


def load_vectors(name: str, key: str = "vectors") -> list[Any]:
    """Return vectors of other projects, empty where they are not at hand (they are not ours to copy)."""
    folder = os.environ.get(VECTORS)
    if not folder:
        return []
    found = json.loads((Path(folder) / name).read_text(encoding="utf-8"))[key]
    return list(found["cases"] if isinstance(found, dict) else found)


def vector_parameters(name: str, key: str = "vectors") -> list[Any]:
    """Return pytest parameters for a vector file, or one that skips with the reason."""
    vectors = load_vectors(name, key)
    if not vectors:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{VECTORS} is not set: no vectors of others"))]
    return [pytest.param(vector, id=str(vector.get("id", index))) for index, vector in enumerate(vectors)]
