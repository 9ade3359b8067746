"""The world's process: `python -m sandbox.world --folder DIR`."""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import logging
import os
import time
from pathlib import Path


def main() -> None:
    """Run until told to end: by a signal, or by the end of standard input before the word `detach`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    folder: Path = parser.parse_args().folder
    logging.basicConfig(level=logging.WARNING)
    (folder / "clouds").mkdir(parents=True, exist_ok=True)
    _configure_ministack(folder / "clouds")
    from sandbox.world.clock import Clock  # noqa: PLC0415  after the environment that ministack reads
    from sandbox.world.servers import Servers  # noqa: PLC0415

    real_now = dt.datetime.now(dt.UTC)
    clock = Clock(folder / "clock.json", time.time())
    asyncio.run(Servers(folder, clock, real_now).run())


def _configure_ministack(folder: Path) -> None:
    """Set the environment that ministack reads when it is imported: on disk, in here, and nothing that we don't use."""
    os.environ |= {
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder / "aws"),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(folder / "s3"),
        "SERVICES": "s3,cloudfront,acm,iam,sts",
        "BIND_HOST": "127.0.0.1",
        "DOCKER_HOST": "unix:///nonexistent",
        "LOG_LEVEL": "WARNING",
    }


if __name__ == "__main__":
    main()
