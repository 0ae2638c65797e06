"""What Dagster sees."""

import warnings

from dagster import BetaWarning

# Backfill policies are marked beta; the version is pinned and their behaviour tested.
warnings.filterwarnings("ignore", category=BetaWarning)
