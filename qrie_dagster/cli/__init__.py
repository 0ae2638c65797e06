"""The command line: ``qrie``."""

import sys

from qrie_dagster.cli.app import app
from qrie_dagster.cli.output import errors
from qrie_dagster.errors import QrieError


def main() -> None:
    """Run a command. What a person can mend is one sentence on standard error and exit code 1."""
    try:
        app()
    except QrieError as error:
        errors.print(f"qrie: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
