"""The command line: ``qrie``."""

import sys

from qrie_dagster.cli.app import app
from qrie_dagster.cli.output import errors
from qrie_dagster.cli.status import DriftError
from qrie_dagster.errors import QrieError

# As in sysexits.h. Typer's own 2 would read as drift to whoever watches 'qrie status'.
WRONG_USAGE = 64
DRIFT = 2


def main() -> None:
    """Run a command. What a person can mend is one sentence on standard error and exit code 1."""
    try:
        app()
    except SystemExit as ended:
        sys.exit(WRONG_USAGE if ended.code == 2 else ended.code)
    except DriftError:
        sys.exit(DRIFT)
    except QrieError as error:
        errors.print(f"qrie: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
