"""Start a policy pack as the engine asks for it: its own address, the pack's folder, then runtime options."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from sandbox.orphans import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    pack = Path(sys.argv[2]).resolve()
    sys.path.insert(0, str(pack))
    runpy.run_path(str(pack / "__main__.py"), run_name="__main__")
