"""Train the practice model, data/practice.pt, which START_FROM=practice begins with.

    python benchmarks/practice_model.py

Its images come from forms.py alone, with a seed that the practice of getData.py never
uses. Takes about forty minutes on two cores.
"""

import io
import subprocess
import sys
from pathlib import Path

project = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(project))

import model  # noqa: E402
import utils  # noqa: E402
from practice import forms  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
# images of each form; the mixed ones teach most about other websites' captchas
COUNTS = {"simple": 4000, "ripple": 6000, "noise": 8000, "mixed": 40000}
EPOCHS = 20  # see train_script.py
SEED = 123456789  # of the practice site
WORK_FOLDER = utils.DATA / "practice_work"  # for images, split and training
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Draw, split, train, and put the model in its place."""
    utils.settings(globals(), sys.argv[1:])
    images = WORK_FOLDER / "images"
    images.mkdir(parents=True, exist_ok=True)
    for form, count in COUNTS.items():
        for number in utils.progress(range(count), form):
            image, answer = forms.draw(form, number, SEED)
            data = io.BytesIO()
            image.save(data, "PNG")
            (images / f"{answer}-{form}{number}.png").write_bytes(data.getvalue())
    call(
        "split_data.py", f"IMAGE_FOLDER={images}", "LABELS_FILE=None", "LABEL_PATTERN=^([^-]+)-",
        f"SPLIT_FOLDER={WORK_FOLDER / 'split'}", "VAL_FRACTION=0.03", "TEST_FRACTION=0.05",
    )  # fmt: skip
    call(
        "train_script.py", f"SPLIT_FOLDER={WORK_FOLDER / 'split'}",
        f"MODEL_FOLDER={WORK_FOLDER / 'model'}", f"EPOCHS={EPOCHS}", "START_FROM=None",
        "SHOW_PLOTS=False",
    )  # fmt: skip
    # What is said about the run names folders of this computer: it stays here.
    net, about = model.load_checkpoint(WORK_FOLDER / "model" / "captcha.pt")
    about = {"images": COUNTS, "val": about["val"]}
    model.save_checkpoint(net, utils.PRACTICE_MODEL, about)


def call(script: str, *arguments: str) -> None:
    """Run a script of the project; a mistake ends this one too."""
    subprocess.run([sys.executable, str(project / script), *arguments], check=True)


if __name__ == "__main__":
    utils.run(main)
