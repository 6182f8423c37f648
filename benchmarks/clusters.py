"""What naming clusters saves: purity, the share of proposals that are right, and keys an image.

    python benchmarks/clusters.py IMAGE_FOLDER=/my/captchas
    python benchmarks/clusters.py FORM=simple COUNT=1200

The person is simulated with the true labels. The keys that are counted:

- Typing everything: each character of the label, and Enter.
- With clusters: for each cluster, biggest first, the character that most of its crops show, and
  Enter: two keys. One more key for each crop that is marked as an outlier, which is done where no
  more than OUTLIERS of the cluster are (the rest stand); a cluster whose commonest character makes
  up less than half is skipped with Esc: one key. Then for each image Enter where the proposal is
  right; the whole label and Enter where it is wrong or missing.

Moving the mark to an outlier is not counted: it is one click. The settings of grouping.py and
cutting.py were chosen on SEED=1 of the form simple, and on images of the real sets: on PART=choose,
those whose content's hash is even, but first versions were tried on images of both parts.
"""

import re
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

project = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(project))

import model  # noqa: E402
import utils  # noqa: E402
from files.images import read_image  # noqa: E402
from labelling.clusters import grouping  # noqa: E402
from practice import forms  # noqa: E402

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER: Path | None = None  # images whose file names are their labels; None draws practice
LABEL_PATTERN = "(.+)"  # see split_data.py
FORM = "simple"  # of the practice site, where IMAGE_FOLDER is None
COUNT = 1200  # images of the practice site
SEED = 0  # of the practice site
PART = "measure"  # "choose" and "measure" take one half of a folder each; "all" takes both
WAY = "best"  # "cut", "look", or "best", which judges them as the label window does
OUTLIERS = 3  # marked in a cluster at most
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure as the constants say, and print the result."""
    utils.settings(globals(), sys.argv[1:])
    if WAY not in (*grouping.WAYS, "best"):
        raise ValueError(f"WAY={WAY}: it must be cut, look or best.")
    images, answers = load(IMAGE_FOLDER, LABEL_PATTERN, PART, FORM, COUNT, SEED)
    began = time.monotonic()
    found = find(images, WAY)
    seconds = time.monotonic() - began
    print(
        f"{IMAGE_FOLDER.name if IMAGE_FOLDER else FORM}: {len(images)} images, "
        f"{len(found.crops)} characters found in {seconds:.0f} s by way of {found.way}, "
        f"{found.cluster.max() + 1} clusters; agreement {found.agreement:.2f}: "
        f"{'clusters help' if found.helps() else 'clusters will not help'}"
    )
    counts = np.bincount([crop.image for crop in found.crops], minlength=len(images))
    right_count = counts == [len(answer) for answer in answers]
    print(f"  as many characters found as there are: {100 * right_count.mean():.1f} % of images")
    for most in (0, OUTLIERS):
        names, outliers, keys, purity = name_all(found, answers, right_count, most)
        read = grouping.propose(found, names, outliers)
        right = [i in read and read[i].text == answer for i, answer in enumerate(answers)]
        typed = sum(len(answer) + 1 for answer in answers)
        keys += sum(1 if r else len(a) + 1 for r, a in zip(right, answers, strict=True))
        sure = [i for i in read if min(read[i].characters) >= 0.9]
        print(
            f"  up to {most} outliers marked: purity {100 * purity:.1f} %, proposals right "
            f"{100 * np.mean(right):.1f} % (of the {len(sure)} sure ones "
            f"{100 * np.mean([right[i] for i in sure]) if sure else 0:.1f} %), keys an image "
            f"{keys / len(images):.2f} instead of {typed / len(images):.2f}: "
            f"{100 * keys / typed:.0f} %"
        )


def load(
    folder: Path | None, pattern: str, part: str, form: str, count: int, seed: int
) -> tuple[list[np.ndarray], list[str]]:
    """Return images (H, W, 3) and what they say, from a folder or the practice site."""
    if folder is None:
        drawn = [forms.draw(form, number, seed) for number in range(count)]
        return [np.asarray(image) for image, _ in drawn], [answer for _, answer in drawn]
    images, answers = [], []
    for file in utils.image_files(folder):
        odd = int(utils.content_hash(file.read_bytes())[-1], 16) % 2
        match = re.search(pattern, file.stem)
        if match and (part == "all" or odd == (part == "measure")):
            images.append(read_image(file))
            answers.append(match[1])
    return images, answers


def find(images: list[np.ndarray], way: str) -> grouping.Found:
    """Find the characters in one of the ways, or in that which seems best."""
    net, _ = model.load_checkpoint(utils.PRACTICE_MODEL)
    if way == "best":
        return grouping.find(images, net)
    if way == "cut":
        return grouping.find(images, None)
    crops, features = grouping.look_all(images, net)
    features = grouping.condense(features)
    how_far = grouping.agreement(features, np.array([crop.image for crop in crops]))
    return grouping.Found(way, crops, features, grouping.group(features), how_far)


def name_all(
    found: grouping.Found, answers: list[str], right_count: np.ndarray, most: int
) -> tuple[dict[int, str], set[int], int, float]:
    """Name each cluster as a person would; return names, outliers, keys, and the purity.

    What a crop shows is known where as many characters were found as there are. The purity is the
    share of such crops that are what most of their cluster are.
    """
    shown = [
        answers[crop.image][crop.place] if right_count[crop.image] else "" for crop in found.crops
    ]
    names, outliers, keys, pure = {}, set(), 0, 0
    for number in range(found.cluster.max() + 1):
        own = [int(i) for i in np.flatnonzero(found.cluster == number)]
        name, times = (
            Counter(filter(None, (shown[i] for i in own))).most_common(1)[:1][0]
            if any(shown[i] for i in own)
            else ("", 0)
        )
        pure += times
        if times < len(own) / 2:
            keys += 1
            continue
        others = [i for i in own if shown[i] not in (name, "")]
        keys += 2
        names[number] = name
        if len(others) <= most:
            outliers.update(others)
            keys += len(others)
    return names, outliers, keys, pure / max(1, sum(map(bool, shown)))


if __name__ == "__main__":
    utils.run(main)
