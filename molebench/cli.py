"""The command line: every command by name.

Exit codes: 0 done; 2 bad usage or input (one line on stderr); 3 some cells failed; 4 a check did not hold;
130 interrupted.
"""

import sys

import typer

from molebench.commands import board, data, plugins, results, running, submit, sweeping, upkeep, verify

app = typer.Typer(
    help="Attacks that poison a learner with valid data, the defenses against them, and figures to compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(running.run)
app.command()(sweeping.sweep)
app.command()(sweeping.status)
app.command()(results.report)
app.command("list")(plugins.list_)
app.command()(plugins.describe)
app.command()(plugins.cite)
app.command()(plugins.conformance)
app.command()(plugins.new)
app.command()(data.doctor)
app.add_typer(data.app, name="data")
app.add_typer(board.app, name="leaderboard")
app.command()(verify.verify)
app.add_typer(submit.app, name="submit")
app.add_typer(upkeep.app, name="store")


def main() -> None:
    """The console script: what typer would print as a box is one line here."""
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except Exception as error:
        if not (message := getattr(error, "format_message", None)):  # only usage errors can say themselves
            raise
        text = message()
        typer.echo(text if "\n" in text else f"molebench: {text} (see molebench --help)", err=True)
        sys.exit(2)
