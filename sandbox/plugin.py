"""The component package as the engine's plugin: what `components/__main__.py` serves, in the sandbox's world."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

from sandbox.deployment import FOLDER_VARIABLE, ROOT, use_outside
from sandbox.world.client import World

if __name__ == "__main__":
    use_outside(World(Path(os.environ[FOLDER_VARIABLE])))
    runpy.run_path(str(ROOT / "components" / "__main__.py"), run_name="__main__")
