"""Look after the stored images.

    python -m images --sweep

removes files that no content refers to, such as a process leaves that was killed between storing an
image and settling its job.
"""

import argparse

from obstore.exceptions import BaseError

import database
import process
from generation import images
from settings import load


def sweep() -> None:
    """Remove the images that no content refers to, and say how many. Raises SettingsError."""
    settings = load()
    # Of an older release too: its rows tell which images are used once they are brought up to date.
    engine = database.make_engine(settings)
    database.start(engine)
    store = images.open_store(settings.image_store)
    try:
        removed = images.sweep(store, engine)
    except (BaseError, OSError) as error:
        raise images.unusable(settings.image_store, error) from error
    print(f"Removed {removed} images that no content refers to from {settings.image_store}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m images", description="The stored images.")
    parser.add_argument(
        "--sweep", action="store_true", required=True, help="remove what no content refers to"
    )
    parser.parse_args()
    process.log_to_stderr()
    with process.telling_why():
        sweep()
