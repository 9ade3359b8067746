"""`mta-sts reports`: what senders report about TLS to our mail hosts."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from mta_sts.commands.output import ProgressLine, put_out

if TYPE_CHECKING:
    import argparse

    from mta_sts.reports.origin import OriginCheck

EXIT_READ_ALL = 0
EXIT_UNREADABLE = 1
_MEBIBYTE = 2**20


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    text = "read TLS reports (RFC 8460) and sum them up: sessions, failures, what to do"
    parser = commands.add_parser(
        "reports",
        help=text,
        description=text,
        epilog="Exit codes: 0 everything was read, 1 something was not (or nothing was there), 64 usage.",
    )
    parser.add_argument(
        "places",
        metavar="PATH",
        nargs="+",
        help="files, folders, Maildirs, mbox files, mails, archives, s3://BUCKET/PREFIX; mbox:PATH says that mbox "
        "files quote the lines of mails that begin with From, so that every mail's DKIM result counts",
    )
    parser.add_argument("--domain", action="append", default=[], help="only this domain (may be given again)")
    add_reading_options(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print the whole document")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print rows for a spreadsheet")
    form.add_argument("--html", dest="form", action="store_const", const="html", help="print one page for a browser")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead, whole or not at all")
    parser.set_defaults(run=run, form="text")


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """Declare how reports are read; the same for every command that reads them."""
    origin = parser.add_mutually_exclusive_group()
    origin.add_argument(
        "--trust-authserv",
        metavar="HOST",
        help="believe the DKIM results that this mail host put on top of each mail (Authentication-Results, RFC 8601)",
    )
    origin.add_argument(
        "--dkim", action="store_true", help="verify DKIM signatures now, with keys from DNS (needs the package dkimpy)"
    )
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="processes to use (default: one for each core)"
    )
    parser.add_argument(
        "--max-size",
        type=int,
        default=20,
        metavar="MIB",
        help="largest report or mail after decompression (default 20)",
    )


def run(options: argparse.Namespace) -> int:
    """Read, print, and return 0 or 1; raises ValueError or OSError."""
    from mta_sts.findings import MtaStsError  # noqa: PLC0415  a light start for --help
    from mta_sts.names import normalise_host  # noqa: PLC0415
    from mta_sts.reports.collect import Options, collect  # noqa: PLC0415
    from mta_sts.reports.containers import Limits, Unreadable  # noqa: PLC0415
    from mta_sts.reports.document import document  # noqa: PLC0415
    from mta_sts.reports.parse import clean  # noqa: PLC0415
    from mta_sts.reports.summary import Summary  # noqa: PLC0415

    origin = origin_of(options)
    reading = Options(
        domains=frozenset(map(normalise_host, options.domain)),
        origin=origin,
        limits=Limits(document=options.max_size * _MEBIBYTE),
        jobs=options.jobs,
    )
    try:
        with ProgressLine() as line:
            summary = collect(options.places, reading, line.show)
    except MtaStsError as error:  # what was read is lost, and the document says so of every place
        reason = clean("; ".join(finding.message for finding in error.findings))
        lost = [Unreadable(clean(place, 1024), reason) for place in options.places]
        summary = Summary(origin=origin.method, unreadable=lost)
    text = _written(document(summary), options.form)
    put_out(text, options.output, utf8=options.form in {"csv", "html"})
    return EXIT_UNREADABLE if summary.unreadable else EXIT_READ_ALL


def origin_of(options: argparse.Namespace) -> OriginCheck:
    """Return how the origin of mails is checked; raises ValueError for options that make no sense."""
    from mta_sts.reports.origin import OriginCheck  # noqa: PLC0415  a light start for --help
    from mta_sts.reports.sources import split_s3, stated  # noqa: PLC0415

    if options.jobs < 0:
        raise ValueError(f"--jobs {options.jobs}: give a number of processes, 0 for one a core")
    if options.max_size < 1:
        raise ValueError(f"--max-size {options.max_size}: give at least 1 MiB")
    trusted = options.trust_authserv
    if trusted is not None and len(trusted.split()) != 1:
        raise ValueError(f"--trust-authserv {trusted!r}: give the name that your mail host notes (mx.example.com)")
    for given in options.places:
        place, _ = stated(given)
        if place.startswith("s3://"):
            split_s3(place)
    if options.dkim:
        from importlib.util import find_spec  # noqa: PLC0415

        if find_spec("dkim") is None:
            raise ValueError("--dkim needs the package dkimpy: install it, or use --trust-authserv HOST")
    return OriginCheck(trusted or "", options.dkim)


def _written(plain: dict[str, Any], form: str) -> str:
    from mta_sts.reports import html, writers  # noqa: PLC0415  a light start for --help

    if form == "json":
        return json.dumps(plain, indent=2) + "\n"
    if form == "csv":
        return writers.to_csv(plain)
    if form == "html":
        return html.to_html(plain)
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    return writers.to_text(plain, plain_ascii=not encoding.startswith("utf"))
