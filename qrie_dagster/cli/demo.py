"""``qrie demo``: qrie on an emulated organisation."""

from importlib import import_module
from types import ModuleType
from typing import Annotated

import typer

from qrie_dagster.cli.output import say
from qrie_dagster.errors import QrieError

app = typer.Typer(help="qrie on an emulated organisation of AWS accounts.", no_args_is_help=True)


@app.command()
def run(
    once: Annotated[
        bool, typer.Option("--once", help="Unattended: disturb, repair, compare with the truth, exit.")
    ] = False,
) -> None:
    """Start everything, scan everything, and stay until Ctrl-C."""
    if not _demo().run(once=once):
        raise typer.Exit(1)


@app.command()
def disturb() -> None:
    """Change the emulated AWS behind qrie's back."""
    demo = _demo()
    for line in demo.disturb(demo.of_another_terminal().endpoint):
        say(line)


@app.command()
def scan() -> None:
    """Run a full inventory and policy scan in the running demonstration."""
    demo = _demo()
    demo.scan_all(demo.of_another_terminal())


def _demo() -> ModuleType:
    """The demonstration needs moto, which an installation for production does not have."""
    try:
        return import_module("qrie_dagster.demo.run")
    except ModuleNotFoundError as error:
        raise QrieError(f"The demonstration needs more packages ({error.name}): install qrie-dagster[demo].") from error
