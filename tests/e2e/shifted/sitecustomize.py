"""Moves the wall clock of every Python process that finds this on its path: ``DAYS_LATER`` days ahead, ticking on.

Sleeps and time-outs are not touched.
"""

import os
from datetime import UTC, datetime, timedelta

import time_machine

time_machine.travel(datetime.now(UTC) + timedelta(days=float(os.environ["DAYS_LATER"])), tick=True).start()
