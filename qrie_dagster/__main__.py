"""``python -m qrie_dagster`` is the command ``qrie``."""

from qrie_dagster.cli import main

main()
