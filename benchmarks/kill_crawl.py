"""Kill getData.py again and again while it crawls, and check that nothing was lost or damaged.

    python benchmarks/kill_crawl.py
    python benchmarks/kill_crawl.py KILLS=500 FORM=noise

After each kill every image with a name must be whole and have its row. A last run then completes
the folder, which must hold exactly what one run that was never killed would have fetched. Every
fourth kill comes at any time after the start of the program, the others once it fetches.
"""

import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils
from files.images import content_hash, read_image
from files.tables import INDEX_COLUMNS, read_table
from practice import forms

# ---- edit these ----------------------------------------------------------------------------------
KILLS = 50  # how many times
FORM = "digit"  # of the practice site
SEED = 0  # another number kills at other moments
LATEST = 0.5  # seconds after it began to fetch
WORK_FOLDER = utils.DATA / "kill_crawl"  # for the images; emptied first
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Kill and check as the constants say."""
    utils.settings(globals(), sys.argv[1:])
    shutil.rmtree(WORK_FOLDER, ignore_errors=True)
    rng, kept = random.Random(SEED), []
    for kill in range(KILLS):
        process = start(WORK_FOLDER, FORM, 1_000_000)
        before = size(WORK_FOLDER)
        while kill % 4 and process.poll() is None and size(WORK_FOLDER) == before:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, LATEST if kill % 4 else 4 * LATEST))
        process.kill()
        process.wait()
        kept.append(check(WORK_FOLDER, FORM, complete=False))
        utils.note(f"kill {kill + 1}: {kept[-1]} images")
    if start(WORK_FOLDER, FORM, 100).wait():
        raise ValueError("the last run failed; see above.")
    total = check(WORK_FOLDER, FORM, complete=True)
    idle = sum(a == b for a, b in zip([0, *kept], kept, strict=False))
    print(f"{KILLS} kills, {KILLS - idle} of them after a new image: {total} images, none lost")


def start(folder: Path, form: str, count: int) -> subprocess.Popen:
    """Start getData.py."""
    settings = [f"SOURCE=practice:{form}", f"COUNT={count}", "SEED=0", f"DOWNLOAD_FOLDER={folder}"]
    command = [sys.executable, str(utils.ROOT / "getData.py"), *settings]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def size(folder: Path) -> int:
    """Return the size of the index in bytes."""
    index = folder / "index.csv"
    return index.stat().st_size if index.exists() else 0


def check(folder: Path, form: str, complete: bool) -> int:
    """Return how many images have a row. Raises ValueError if anything is wrong with them."""
    index = folder / "index.csv"
    rows = read_table(index, INDEX_COLUMNS) if index.exists() else []
    names = {row["image"] for row in rows}
    there = {file.name for file in folder.glob("*.png")}
    if len(names) < len(rows) or there - names:
        raise ValueError(f"{folder}: an image is in the index twice, or not at all.")
    if complete:
        numbers = sorted(int(row["url"].rpartition("n=")[2]) for row in rows)
        if there != names or numbers != list(range(len(rows))):
            raise ValueError(f"{folder}: an image was lost.")
        for row in rows:
            image, answer = forms.draw(form, int(row["url"].rpartition("n=")[2]))
            same = read_image(folder / row["image"]).tobytes() == image.tobytes()
            if not same or answer != row["answer"]:
                raise ValueError(f"{folder / row['image']} is not what the site drew.")
    for name in there:
        if content_hash((folder / name).read_bytes())[:16] != name.partition(".")[0]:
            raise ValueError(f"{folder / name} is not whole.")
    return len(rows)


if __name__ == "__main__":
    utils.run(main)
