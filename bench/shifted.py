"""The service with its clock SHIFT_SECONDS ahead, so that a month can turn when it is to."""

import os
from datetime import datetime, timedelta

import models

SHIFT = timedelta(seconds=float(os.environ["SHIFT_SECONDS"]))
now = models.utc_now


def shifted_now() -> datetime:
    return now() + SHIFT


# Before anything else is imported, which may keep the function itself.
vars(models)["utc_now"] = shifted_now

import main  # noqa: E402

app = main.app
