"""Label, train, label again: how many images must be typed until a thousand are labelled.

    python benchmarks/label_loop.py IMAGE_FOLDER=/my/captchas
    python benchmarks/label_loop.py IMAGE_FOLDER=/my/captchas START_FROM=practice
    python benchmarks/label_loop.py IMAGE_FOLDER=/my/captchas START_FROM=practice ADAPT=True

The true labels, in index.csv or in the file names, play the person. Everything else is real: the
proposals and their order are those of the label window, and between two sessions split_data.py and
train_script.py run as they are. The person types what comes without a proposal, presses Enter on a
correct one, and corrects a wrong one with the fewest keys. People make mistakes: now and then a
character is mistyped, or a wrong one overlooked that the window did not mark.
"""

import json
import random
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import utils
from benchmarks.folds import call
from labelling.exchange import read_answers
from labelling.labels import Labelling
from labelling.proposals import Offer, Proposals

# ---- edit these ----------------------------------------------------------------------------------
IMAGE_FOLDER = utils.DATA / "download"  # images with an index.csv, or named by their labels
LABEL_PATTERN = "(.+)"  # see split_data.py
COUNT = 1000  # images to label, drawn by the seed
TRAIN_AT = [60, 200, 500]  # after how many labels to train
TEST_FRACTION = 0.05  # see split_data.py; small, as the unaided images show how well it reads
START_FROM: Path | str | None = None  # see train_script.py; "practice" also proposes from the start
ADAPT = False  # True: the model teaches itself these images first, told which characters occur
ORDER = "most-sure"  # see label_helper.py
UNAIDED = 0.03  # see label_helper.py
DOUBTFUL = 0.95  # see label_helper.py
OVERLOOKED = 0.1  # share of the wrong proposals that are accepted, if no wrong character is marked
SLIPS = 0.002  # share of the typed labels that have a wrong character
SEED = 0  # of the images, the person, the split and the training
WORK_FOLDER = utils.DATA / "label_loop"  # for labels, split and model; emptied of the labels first
# --------------------------------------------------------------------------------------------------


def main() -> None:
    """Label as the settings say."""
    utils.settings(globals(), sys.argv[1:])
    truth = true_labels(IMAGE_FOLDER, LABEL_PATTERN)
    if len(truth) < COUNT:
        raise ValueError(f"{IMAGE_FOLDER} has {len(truth)} labelled images, fewer than {COUNT}.")
    rng = random.Random(SEED)
    truth = {image: truth[image] for image in sorted(rng.sample(sorted(truth), COUNT))}
    labels_file, model_folder = WORK_FOLDER / "labels.csv", WORK_FOLDER / "model"
    labels_file.unlink(missing_ok=True)
    person = Person(truth, OVERLOOKED, SLIPS, rng)

    model_file = utils.model_file(START_FROM) if START_FROM else None
    if ADAPT:
        model_file = adapt(sorted(truth), person.charset, model_folder)
    goals = [*(goal for goal in sorted(TRAIN_AT) if goal < COUNT), COUNT]
    print(
        "labels  typed  corrected  accepted  proposals correct, %  keys each  seconds of training"
    )
    while goals:
        label_until(person, labels_file, model_file, goals[0])
        labels = len(person.given)
        seconds = ""
        if labels < COUNT:
            try:
                seconds = train(labels_file, model_folder)
                model_file = model_folder / "captcha.safetensors"
                goals.pop(0)
            except ValueError as error:  # too few labels, say the scripts: type a few more
                utils.note(f"{labels} labels: {error}")
                goals[0] = labels + 10
        else:
            goals.pop(0)
        print(f"{labels:6d}  {person.describe()}  {seconds:>8}", flush=True)
    wrong = sum(label != truth[image] for image, label in person.given.items())
    typed, keys = person.typed + person.corrected, sum(map(len, truth.values())) + COUNT
    print(
        f"{IMAGE_FOLDER.name}: {typed} of {COUNT} images typed ({100 * typed / COUNT:.1f} %; "
        f"{person.typed} whole, {person.corrected} corrected), {person.keys} keys instead of "
        f"{keys}; {100 * (1 - wrong / COUNT):.1f} % of the labels are correct"
    )


def true_labels(folder: Path, pattern: str) -> dict[str, str]:
    """Return the true label of each image, from index.csv where there is one."""
    if (folder / "index.csv").is_file():
        answers = read_answers(folder / "index.csv")
        return {f.name: answers[f.name] for f in utils.image_files(folder) if f.name in answers}
    labels = utils.labels_from_names(utils.image_files(folder), pattern)
    return {file.name: label for file, label in labels.items()}


class Person:
    """Labels as a person would: knows the truth, counts the keys, makes a few mistakes."""

    def __init__(
        self, truth: dict[str, str], overlooked: float, slips: float, rng: random.Random
    ) -> None:
        self.truth, self.overlooked, self.slips, self.rng = truth, overlooked, slips, rng
        self.charset = sorted(set("".join(truth.values())))
        self.given: dict[str, str] = {}
        self.typed = self.corrected = self.accepted = self.keys = 0
        self.correct: list[bool] = []  # of the proposals in this session, shown or not

    def label(self, image: str, offer: Offer | None) -> str:
        """Return the label given to an image for which this was offered."""
        truth = self.truth[image]
        if offer is None:
            self.typed += 1
            self.keys += len(truth) + 1
            label = self.type(truth)
        elif offer.text == truth or self.overlooks(offer, truth):
            self.accepted += 1
            self.keys += 1
            label = offer.text
        else:
            self.corrected += 1
            self.keys += keys_to_correct(offer, truth)
            label = self.type(truth)
        self.given[image] = label
        return label

    def overlooks(self, offer: Offer, truth: str) -> bool:
        """Tell whether a wrong proposal is accepted: not if what is wrong is marked."""
        marked = len(offer.text) == len(truth) and set(offer.doubtful) & set(
            differences(offer.text, truth)
        )
        return not marked and self.rng.random() < self.overlooked

    def type(self, text: str) -> str:
        """Return what is typed for a text, with a slip now and then."""
        if self.rng.random() < self.slips:
            place = self.rng.randrange(len(text))
            others = [c for c in self.charset if c != text[place]]
            text = text[:place] + self.rng.choice(others) + text[place + 1 :]
        return text

    def describe(self) -> str:
        """Return what was done so far, and how good the proposals of this session were."""
        correct = f"{100 * sum(self.correct) / len(self.correct):.1f}" if self.correct else ""
        return (
            f"{self.typed:5d}  {self.corrected:9d}  {self.accepted:8d}  {correct:>20}  "
            f"{self.keys / len(self.given):9.2f}"
        )


def differences(text: str, other: str) -> list[int]:
    """Return the places at which two texts of one length differ."""
    return [place for place, pair in enumerate(zip(text, other, strict=True)) if len(set(pair)) > 1]


def keys_to_correct(offer: Offer, truth: str) -> int:
    """Return the fewest keys that turn a wrong proposal into the truth, Enter included.

    Marked characters are typed, or passed over with Tab where they are correct; everything is typed
    again where the length is wrong, or a character that is not marked.
    """
    again = bool(offer.doubtful) + len(truth) + 1  # Ctrl+A, unless all is selected already
    if len(offer.text) != len(truth):
        return again
    wrong = differences(offer.text, truth)
    if set(wrong) <= set(offer.doubtful):
        return sum(place <= wrong[-1] for place in offer.doubtful) + 1
    return again


def label_until(person: Person, labels_file: Path, model_file: Path | None, goal: int) -> None:
    """Label until there are ``goal`` labels, with the proposals of a model if there is one."""
    labelling = Labelling(list(person.truth), labels_file)
    proposals = Proposals({}, ORDER, DOUBTFUL, UNAIDED)
    person.correct = []
    if model_file:
        reader = proposals.read(model_file, IMAGE_FOLDER, labelling.upcoming(len(person.truth)))
        reader.start()
        reader.thread.join()  # the window would not wait; this program has no need to hurry
        reader.close()
        if reader.trouble:
            raise ValueError(reader.trouble)
        labelling.reorder(proposals.arrange(labelling.images))
        labelling.go(labelling.next_open(0) or 0)
    while len(person.given) < goal:
        image = labelling.image
        if image in proposals.predictions:
            person.correct.append(proposals.predictions[image].text == person.truth[image])
        labelling.decide(person.label(image, proposals.offer(image)))
    labelling.close()


def adapt(images: list[str], characters: list[str], model_folder: Path) -> Path:
    """Let a model teach itself images without a label; return its file."""
    crawl = WORK_FOLDER / "crawl"
    shutil.rmtree(crawl, ignore_errors=True)
    crawl.mkdir(parents=True)
    for image in images:
        shutil.copyfile(IMAGE_FOLDER / image, crawl / image)
    call(
        "train_script.py", "SPLIT_FOLDER=None", f"UNLABELLED_FOLDER={crawl}", f"SEED={SEED}",
        f"START_FROM={START_FROM}", f"MODEL_FOLDER={model_folder}", "SHOW_PLOTS=False",
        f"CHARACTERS={json.dumps(''.join(characters))}",
    )  # fmt: skip
    return model_folder / "captcha.safetensors"


def train(labels_file: Path, model_folder: Path) -> str:
    """Split and train; return how many seconds the training took."""
    split = WORK_FOLDER / "split"
    call(
        "split_data.py", f"IMAGE_FOLDER={IMAGE_FOLDER}", f"LABELS_FILE={labels_file}",
        f"SPLIT_FOLDER={split}", f"TEST_FRACTION={TEST_FRACTION}", f"SEED={SEED}",
    )  # fmt: skip
    call(
        "train_script.py", f"SPLIT_FOLDER={split}", f"MODEL_FOLDER={model_folder}", f"SEED={SEED}",
        f"START_FROM={START_FROM}", "SHOW_PLOTS=False",
        f"UNLABELLED_FOLDER={WORK_FOLDER / 'crawl' if ADAPT else None}",
    )  # fmt: skip
    return f"{json.loads((model_folder / 'metrics.json').read_text())['seconds']:.0f}"


if __name__ == "__main__":
    utils.run(main)
