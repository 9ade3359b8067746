"""The core stands alone and starts light."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mta_sts

SOURCES = sorted(Path(mta_sts.__file__).parent.rglob("*.py"))
ABOVE = {"pulumi", "pulumi_aws", "pulumi_cloudflare", "pulumi_mta_sts", "components", "sandbox", "policies"}
"""What builds on the core; arrows point one way."""
HEAVY = {"asyncio", "boto3", "botocore", "cryptography", "dns", "email", "h11", "http", "idna", "jsonschema", "ssl",
         "yaml"}  # fmt: skip
"""What a light command must not load."""


def imported(source: Path) -> set[str]:
    """Return the top-level names of all that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def loaded(*arguments: str) -> set[str]:
    """Return the top-level modules that a new interpreter has loaded after running this."""
    report = "import atexit, sys; atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules}))\n"
    run = subprocess.run(
        [sys.executable, "-c", report + arguments[0], *arguments[1:]], capture_output=True, text=True, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_core_imports_nothing_that_builds_on_it(source: Path) -> None:
    """Neither Pulumi nor components nor sandbox, not even inside a function."""
    assert set() == imported(source) & ABOVE


@pytest.mark.parametrize(
    "start",
    [
        ("import mta_sts",),
        ("from mta_sts.cli import main; main()", "--help"),
        ("from mta_sts.cli import main; main()", "lint", "--help"),
        ("from mta_sts.cli import main; main()", "promote", "--help"),
        ("from mta_sts.cli import main; main()", "review", "--help"),
        ("from mta_sts.cli import main; main()", "recover", "--help"),
        ("from mta_sts.cli import main; main()", "migrate", "--help"),
        ("from mta_sts.cli import main; main()", "check", "--help"),
        ("from mta_sts.cli import main; main()", "adopt", "--help"),
        ("import mta_sts; mta_sts.check_domain({'domain': 'example.com', 'mx': ['mx.example.com']})",),
    ],
    ids=[
        "import",
        "help",
        "lint help",
        "promote help",
        "review help",
        "recover help",
        "migrate help",
        "check help",
        "adopt help",
        "check_domain",
    ],
)
def test_a_light_start_loads_nothing_heavy(start: tuple[str, ...]) -> None:
    """Importing the core, asking for help and judging a plain configuration load no cloud, crypto or network module."""
    modules = loaded(*start)
    assert "mta_sts" in modules
    assert set() == modules & (HEAVY | ABOVE)


def test_every_public_name_is_there() -> None:
    """What `mta_sts` promises can be imported from it."""
    public = importlib.import_module("mta_sts")
    assert [] == [name for name in public.__all__ if not hasattr(public, name)]
    assert sorted(public.__all__) == public.__all__
