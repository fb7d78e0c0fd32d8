"""Tables of the runs under output folders, from their results.json alone.

    python tools/collect.py output
    python tools/collect.py output --where trainer=PromptKD dataset=Emoji
    python tools/collect.py output --format latex > table.tex
    python tools/collect.py output --html report.html

`promptkd collect` is the same command where the project is installed.

Percentages are means over seeds +- the sample standard deviation (n - 1). HM is the harmonic mean of the mean base and
new accuracies, as the papers do; its deviation is that of the seeds' own HM. Transductive methods have tables of their
own. A results.json that is broken, not whole, somebody else's, or a second one of the same configuration is named and
left out.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from promptkd.home import expanded
from promptkd.results import search
from promptkd.tables.grouping import summaries_of
from promptkd.tables.summaries import Summaries
from promptkd.texts import one_line

FORMATS = ("terminal", "markdown", "csv", "latex", "json")


def collect(outputs: Sequence[str], conditions: Sequence[str] = ()) -> tuple[Summaries, list[str]]:
    """Summaries of the runs under output folders, and a line for each results.json that was left out.

    Raises:
        FileNotFoundError: no such output folder.
        ValueError: a condition that makes no sense.
    """
    runs, left_out = search.find(*outputs)
    summaries, remarks = summaries_of(search.where(runs, conditions))
    return summaries, [*map(str, left_out), *remarks]


def text_of(summaries: Summaries, left_out: Sequence[str], form: str, compare: bool = True) -> str:
    """The tables in one of FORMATS; `compare` puts published numbers beside ours."""
    from promptkd.tables import build, render
    from promptkd.tables.attacked import attacked_tables

    if form == "json":
        return render.json_text(summaries, left_out)
    if form == "csv":
        return render.csv_text(summaries)
    tables = [*build.build(summaries, compare), *attacked_tables(summaries, compare)]
    if form == "terminal":  # a window has columns, those of COLUMNS first; what goes to a pipe or a file is never cut
        return render.terminal(tables, shutil.get_terminal_size((0, 0)).columns if sys.stdout.isatty() else 0)
    return {"markdown": render.markdown, "latex": render.latex}[form](tables)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("output", nargs="+", type=expanded, help="folders that hold runs, at any depth")
    p.add_argument("--where", nargs="+", default=[], metavar="KEY=VALUE", help="only these runs: trainer=A,B seed=1")
    p.add_argument("--format", choices=FORMATS, default="terminal")
    p.add_argument(
        "--html",
        default="",
        type=expanded,
        metavar="FILE",
        help="also write a page with charts and every run in detail",
    )
    p.add_argument(
        "--explain",
        action="store_true",
        help="of --html: look at each run's test images once more, for maps of attention, occlusion and features, and "
        "agreement with its teacher; kept as explanation.json beside the run",
    )
    p.add_argument("--gallery", type=int, default=12, help="errors that the page shows of each run, with their images")
    p.add_argument("--no-published", action="store_true", help="no published numbers beside ours")
    return p


def _explain(summaries: Summaries) -> None:
    """Explains the runs that have no explanation of their configuration yet; says why where one has none."""
    from promptkd.deploy.explaining import explain_run
    from promptkd.results import explanation

    for run in (run for row in summaries.values() for summary in row.values() for run in summary.runs):
        try:
            known = explanation.read(run.directory)
        except ValueError:
            known = None
        if known and known["config_hash"] == run.record.config_hash:
            continue
        try:
            explain_run(run.directory)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            print(f"not explained: {run.path}: {one_line(error)}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 1 where there is nothing to show."""
    args = parser().parse_args(argv)
    if args.explain and not args.html:
        print("error: --explain is shown by a page: give --html FILE too", file=sys.stderr)
        return 1
    try:
        summaries, left_out = collect(args.output, args.where)
    except (OSError, ValueError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    for line in left_out:
        print(f"left out: {one_line(line)}", file=sys.stderr)
    if not summaries:
        meeting = f" meet {' '.join(args.where)}" if args.where else ""
        print(f"no results under {', '.join(args.output)}{meeting}", file=sys.stderr)
        return 1
    print(text_of(summaries, left_out, args.format, not args.no_published), end="")
    if args.html:
        from promptkd.tables import report

        if args.explain:
            _explain(summaries)

        try:
            report.write(args.html, summaries, left_out, args.output, args.gallery)
        except OSError as error:
            print(f"error: cannot write --html {args.html}: {one_line(error.strerror or error)}", file=sys.stderr)
            return 1
        print(f"Page: {args.html}", file=sys.stderr)
    return 0


command_line = main
