"""What the model that ships owes to many fonts, many images and each kind of style.

    python benchmarks/world.py

Small trainings of practice/recipe.py, each judged on drawings that it was not trained on: of the
fonts held out, and of the styles held out. Each has seen the same number of images by its end, some
more than once. Takes an hour or two; a second run goes on where the first was stopped. Draws the
curves to OUTPUT and prints a table.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

import model
import utils
from practice import glyphs, styles
from training import plots

# ---- edit these ----------------------------------------------------------------------------------
FAMILIES = [10, 30, 100, 300]  # of fonts, for the first curve
IMAGES = [30_000, 75_000, 150_000]  # distinct ones, for the second; the last also for the first
SEEN = 150_000  # images that each training sees, the same one again and again if need be
SETTINGS = ""  # further NAME=value settings of recipe.py, separated by blanks, such as FONT_FOLDERS
WORK_FOLDER = utils.DATA / "world"  # for the trainings
OUTPUT = utils.DATA / "world.png"
SHOW_PLOTS = True  # False: never open a window
# --------------------------------------------------------------------------------------------------

KINDS = {
    "effects on letters": glyphs.EFFECTS,
    "grounds": styles.GROUNDS,
    "disturbances": styles.DISTURBANCES,
    "bending": styles.BENDS,
    "camera": styles.CAMERA,
}
PART_IMAGES = 5000


def main() -> None:
    """Train, judge, draw."""
    utils.settings(globals(), sys.argv[1:])
    plots.use_screen(SHOW_PLOTS)
    by_families = {count: figures(f"families {count}", IMAGES[-1], count) for count in FAMILIES}
    by_images = {count: figures(f"images {count}", count) for count in IMAGES}
    print("images read correctly, in per cent, case ignored")
    for what, curve in (("families", by_families), ("images", by_images)):
        for count, shares in curve.items():
            print(line(f"{count} {what}", shares))
    everything = by_images[IMAGES[-1]]
    for kind, steps in KINDS.items():
        names = sorted({step.__name__ for step in steps})
        print(line(f"without {kind}", figures(f"without {kind}", IMAGES[-1], without=names)))
    print(line("with all of them", everything))
    plots.save(draw({"families of fonts": by_families, "distinct images": by_images}), OUTPUT)
    print(f"The curves are in {OUTPUT}")
    plots.show()


def figures(
    name: str, images: int, families: int | None = None, without: Sequence[str] = ()
) -> dict[str, float]:
    """Train with so many images and families; return the shares read of each kind of drawing."""
    folder = WORK_FOLDER / name.replace(" ", "-")
    file = folder / "made.safetensors"
    if not file.exists():
        subprocess.run(
            [
                sys.executable, str(utils.ROOT / "practice" / "recipe.py"),
                f"PART_IMAGES={PART_IMAGES}", f"PARTS={images // PART_IMAGES}",
                f"VIEWS={SEEN // images}", f"FAMILIES={families}", f"WITHOUT={list(without)}",
                f"WORK_FOLDER={folder}", f"MODEL_FILE={file}", *SETTINGS.split(),
            ],
            check=True,
        )  # fmt: skip
    return model.load_model(file)[1]["val"]


def line(name: str, shares: dict[str, float]) -> str:
    """Return a line of the table."""
    return f"{name:28s}" + "".join(f"  {kind} {100 * share:5.1f}" for kind, share in shares.items())


def draw(curves: dict[str, dict[int, dict[str, float]]]) -> Figure:
    """Draw each curve: the share of images read against a number."""
    figure, places = plt.subplots(1, len(curves), figsize=(9, 3.6), sharey=True, squeeze=False)
    for axes, (what, curve) in zip(places[0], curves.items(), strict=True):
        axes.set_prop_cycle(plots.LINES)
        for kind in ("images", "fonts", "styles"):
            shares = [100 * shares[kind] for shares in curve.values()]
            label = "other images" if kind == "images" else f"other {kind}"
            axes.plot(list(curve), shares, marker="o", label=label)
        axes.set(xscale="log", xlabel=what, ylim=(0, None))
        axes.grid(alpha=0.3)
    places[0][0].set_ylabel("images read correctly (%)")
    places[0][0].legend()
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    utils.run(main)
