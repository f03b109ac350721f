"""Look after the stored images.

    python -m images --sweep

removes files that no content refers to, such as a process leaves that was killed between storing an
image and settling its job.
"""

import argparse

from obstore.exceptions import BaseError

import database
from generation import download, images
from settings import settings, stop

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m images", description="The stored images.")
    parser.add_argument(
        "--sweep", action="store_true", required=True, help="remove what no content refers to"
    )
    parser.parse_args()
    database.start()
    try:
        removed = images.sweep(images.open_store(settings.image_store), database.engine)
    except (BaseError, OSError) as error:
        stop(f"IMAGE_STORE {settings.image_store} cannot be used: {download.first_line(error)}.")
    print(f"Removed {removed} images that no content refers to from {settings.image_store}.")
