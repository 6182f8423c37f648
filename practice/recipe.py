"""Train the model that ships, practice.safetensors, with which START_FROM=practice begins.

    python practice/recipe.py

Its images come from forms.py alone, with a seed that the practice source of getData.py never uses.
A second run goes on where the first was stopped; delete WORK_FOLDER to begin anew.
"""

import io
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
import utils
from practice import forms

# ---- edit these ----------------------------------------------------------------------------------
# images of each form; the mixed ones teach most about other websites' captchas
COUNTS = {"simple": 4000, "ripple": 6000, "noise": 8000, "mixed": 40000}
# one training after the other, each beginning with the model of the one before
TRAININGS = ["EPOCHS=20", "EPOCHS=14 LEARNING_RATE=0.0015"]
SEED = 123456789  # of the images
WORK_FOLDER = utils.DATA / "practice_work"  # for images, split and training
MODEL_FILE = utils.PRACTICE_MODEL  # what is made
# --------------------------------------------------------------------------------------------------

# What the file says about the validation. About the run it says nothing else: that would name
# folders of this computer.
FIGURES = ("images", "character_accuracy", "image_accuracy", "image_accuracy_95", "loss")


def main() -> None:
    """Draw, split, train, and put the model in its place."""
    utils.settings(globals(), sys.argv[1:])
    images = WORK_FOLDER / "images"
    images.mkdir(parents=True, exist_ok=True)
    if len(list(images.iterdir())) < sum(COUNTS.values()):  # else they are there from a run before
        draw(images)
    call(
        "split_data.py", f"IMAGE_FOLDER={images}", "LABELS_FILE=None", "LABEL_PATTERN=^([^-]+)-",
        f"SPLIT_FOLDER={WORK_FOLDER / 'split'}", "VAL_FRACTION=0.03", "TEST_FRACTION=0.05",
    )  # fmt: skip
    made = None  # the first training begins from scratch
    for number, settings in enumerate(TRAININGS, start=1):
        folder = WORK_FOLDER / f"model{number}"
        if not (folder / model.MODEL_NAME).exists():
            call(
                "train_script.py", f"SPLIT_FOLDER={WORK_FOLDER / 'split'}",
                f"MODEL_FOLDER={folder}", f"START_FROM={made}", "SHOW_PLOTS=False",
                f"RESUME={(folder / 'last.pt').exists()}", *settings.split(),
            )  # fmt: skip
        made = folder / model.MODEL_NAME
    net, about = model.load_model(folder / model.MODEL_NAME)
    val = {name: about["val"][name] for name in FIGURES}
    model.save_model(net, MODEL_FILE, {"images": COUNTS, "val": val})


def draw(folder: Path) -> None:
    """Draw the images into a folder; the file names hold their labels."""
    for form, count in COUNTS.items():
        for number in utils.progress(range(count), form):
            image, answer = forms.draw(form, number, SEED)
            data = io.BytesIO()
            image.save(data, "PNG")
            (folder / f"{answer}-{form}{number}.png").write_bytes(data.getvalue())


def call(script: str, *arguments: str) -> None:
    """Run a script of the project; a mistake ends this one too."""
    subprocess.run([sys.executable, str(utils.ROOT / script), *arguments], check=True)


if __name__ == "__main__":
    utils.run(main)
