"""What naming clusters saves: purity, the share of correct proposals, and keys per image.

    python benchmarks/clusters.py IMAGE_FOLDER=/my/captchas
    python benchmarks/clusters.py FORM=simple COUNT=1200

The person is simulated with the true labels. The keys that count:

- Typing everything: each character of the label, and Enter.
- With clusters: for each cluster, largest first, the character that most of its crops show, and
  Enter: two keys. Crops that show another are marked, with one more key each, if there are at most
  three of them; otherwise they stay. A cluster whose commonest character makes up less than half
  is skipped with Esc: one key. Then for each image: Enter if the proposal is correct, or the whole
  label and Enter if it is wrong or missing.

Moving to an outlier does not count: it is one click. The constants of grouping.py and
segmentation.py were chosen on SEED=1 of the form simple and on images of real sets, PART=choose
(the hash of their content is even); but first versions were tried on both parts.
"""

import re
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import model
import utils
from files.images import content_hash, read_image
from labelling.clusters import grouping
from practice import forms

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER: Path | None = None  # images whose file names are their labels; None: practice images
LABEL_PATTERN = "(.+)"  # see split_data.py
FORM = "simple"  # of the practice images
COUNT = 1200  # of the practice images
LETTERS: str | None = None  # what simple, ripple, noise and mixed write instead of their own
SEED = 0  # of the practice images
PART = "measure"  # "choose" and "measure" are one half of a folder each; "all" is both
IGNORE_CASE = True  # letters of both cases are one, as on most websites
WAY = "best"  # "cut", "attention", or "best", which chooses as the label window does
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure what the constants say, and print the result."""
    utils.settings(globals(), sys.argv[1:])
    if WAY not in (*grouping.WAYS, "best"):
        raise ValueError(f"WAY={WAY}: it must be {', '.join(grouping.WAYS)} or best.")
    if LETTERS:
        forms.SERIF_LETTERS = forms.RIPPLE_LETTERS = LETTERS
        forms.NOISE_LETTERS = forms.MIXED_LETTERS = LETTERS
    images, answers = load(IMAGE_FOLDER, LABEL_PATTERN, PART, FORM, COUNT, SEED)
    if IGNORE_CASE:
        answers = [answer.lower() for answer in answers]
    began = time.monotonic()
    net, _ = model.load_model(utils.PRACTICE_MODEL)
    found = grouping.find(images, net, grouping.WAYS if WAY == "best" else (WAY,))
    seconds = time.monotonic() - began
    print(
        f"{IMAGE_FOLDER.name if IMAGE_FOLDER else FORM}: {len(images)} images, "
        f"{len(found.crops)} characters found in {seconds:.0f} s by {found.way}, "
        f"{found.cluster.max() + 1} clusters; expected to save {100 * found.saves:.0f} % of the "
        "keys"
    )
    counts = np.bincount([crop.image for crop in found.crops], minlength=len(images))
    right_count = counts == [len(answer) for answer in answers]
    print(f"  as many characters found as there are: {100 * right_count.mean():.1f} % of images")
    for most in (0, grouping.OUTLIERS):
        print(f"  up to {most} outliers marked: {measure(found, answers, most)}")


def measure(found: grouping.Found, answers: list[str], most: int) -> str:
    """Say what naming saves if up to ``most`` outliers per cluster are marked."""
    names, outliers, keys, purity = grouping.name_as_a_person(found, answers, most)
    predictions = grouping.propose(found, names, outliers)
    correct = [
        i in predictions and predictions[i].text == answer for i, answer in enumerate(answers)
    ]
    typed = sum(len(answer) + 1 for answer in answers)
    keys += sum(1 if c else len(a) + 1 for c, a in zip(correct, answers, strict=True))
    sure = [i for i in predictions if min(predictions[i].character_confidences) >= 0.9]
    sure_share = np.mean([correct[i] for i in sure]) if sure else 0
    return (
        f"purity {100 * purity:.1f} %, proposals correct {100 * np.mean(correct):.1f} % "
        f"(of the {len(sure)} sure ones {100 * sure_share:.1f} %), keys per image "
        f"{keys / len(answers):.2f} instead of {typed / len(answers):.2f}: "
        f"{100 * keys / typed:.0f} %"
    )


def load(
    folder: Path | None, pattern: str, part: str, form: str, count: int, seed: int
) -> tuple[list[np.ndarray], list[str]]:
    """Return images (H, W, 3) and their labels, from a folder or the practice forms."""
    if folder is None:
        drawn = [forms.draw(form, number, seed) for number in range(count)]
        return [np.asarray(image) for image, _ in drawn], [answer for _, answer in drawn]
    images, answers = [], []
    for file in utils.image_files(folder):
        odd = int(content_hash(file.read_bytes())[-1], 16) % 2
        match = re.search(pattern, file.stem)
        if match and (part == "all" or odd == (part == "measure")):
            images.append(read_image(file))
            answers.append(match[1])
    return images, answers


if __name__ == "__main__":
    utils.run(main)
