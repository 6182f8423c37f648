"""What is proposed for each image, in which order the images come, and how often it was right."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import utils
from files.images import content_hash
from labelling.labels import Labelling
from labelling.reader import Reader
from labelling.review import Suspect
from utils import Prediction

ORDERS = ("name", "least-sure", "most-sure", "cluster")
CASES: dict[str, Callable[[str], str]] = {"keep": str, "lower": str.lower, "upper": str.upper}


class Offer(NamedTuple):
    """What stands in the entry before anything is typed."""

    text: str
    doubtful: list[int]  # the places in the text that should be checked
    marks: list[str]  # what stands beneath each character
    remark: str  # about the whole
    how: str  # what the labels file says if the text is confirmed as it stands


class Proposals:
    """What to offer for each image: a prediction from any source, or a label under review.

    ``predictions`` may grow while it is used. Characters below the confidence ``doubtful`` are
    marked; ``unaided`` is the share of the images for which nothing is offered although there is a
    prediction, so that what is typed for them measures the predictions. ``case`` is applied to
    every text.
    """

    def __init__(
        self,
        predictions: dict[str, Prediction],
        order: str = "name",
        doubtful: float = 0.95,
        unaided: float = 0.0,
        case: Callable[[str], str] = str,
    ) -> None:
        self.predictions, self.order, self.doubtful = predictions, order, doubtful
        self.unaided, self.case = unaided, case
        self.suspects: dict[str, Suspect] = {}  # the labels under review, by image
        self.groups: dict[str, int] = {}  # the form of captcha that each image seems to have
        self.reader: Reader | None = None  # adds predictions, if there is one
        self.arranged_with = 0  # how many predictions there were when the images were arranged

    def read(
        self,
        model_file: Path,
        folder: Path,
        images: Sequence[str],
        sample: Sequence[str] | None = None,
        characters: str | None = None,
        length: int | None = None,
    ) -> Reader:
        """Have images read by a model, as soon as the reader that is returned is started."""
        site = sample, characters, length
        self.reader = Reader(model_file, folder, images, self.predictions, *site)
        return self.reader

    def close(self) -> None:
        """Stop the reader."""
        if self.reader:
            self.reader.close()

    def offer(self, image: str) -> Offer | None:
        """Return what stands in the entry at first, or None if that is nothing."""
        if image in self.suspects:
            return offer_suspect(self.suspects[image])
        prediction = self.predictions.get(image)
        if prediction is None or not prediction.text or self.is_unaided(image):
            return None
        text = self.case(prediction.text)
        offer = offer_prediction(prediction._replace(text=text), self.doubtful)
        if self.reader and self.reader.trained == "":  # it learnt from none of the site's labels
            return offer._replace(remark=f"{offer.remark} Nobody has checked this model yet.")
        return offer

    def is_unaided(self, image: str) -> bool:
        """Tell whether an image is one of those that come without a proposal; always the same."""
        name = image.encode(errors="surrogateescape")
        return int(content_hash(name)[:8], 16) / 16**8 < self.unaided

    def arrange(self, images: Sequence[str]) -> list[str]:
        """Return the images in the order that is set; those without a prediction come last."""
        if self.order == "cluster":  # one form after the other
            return sorted(images, key=lambda image: (self.groups.get(image, len(images)), image))
        sign = {"least-sure": 1, "most-sure": -1}.get(self.order, 0)
        predictions = self.predictions if sign else {}
        self.arranged_with = len(predictions)

        def sort_key(image: str) -> tuple[bool, float, str]:
            """Return what to sort an image by."""
            prediction = predictions.get(image)
            return prediction is None, sign * prediction.confidence if prediction else 0, image

        return sorted(images, key=sort_key)

    def sort_ahead(self, labelling: Labelling) -> None:
        """Sort the images that are still to come again, if there are more predictions by now."""
        if self.order in ("least-sure", "most-sure") and self.arranged_with < len(self.predictions):
            images, here = labelling.images, labelling.position + 1
            labelling.reorder(images[:here] + self.arrange(images[here:]))

    def change_order(self, labelling: Labelling) -> str:
        """Set the next order and go to its first open image; return in words what was done."""
        if self.order not in ORDERS:
            return f"The {self.order} have no other order."
        if not self.predictions:
            return "Another order needs a model, and images that it has read."
        orders = ORDERS if self.groups else ORDERS[:-1]
        self.order = orders[(orders.index(self.order) + 1) % len(orders)]
        labelling.reorder(self.arrange(labelling.images))
        first = labelling.next_open(0)
        labelling.go(labelling.position if first is None else first)
        return f"Now {self.order_in_words()}."

    def order_in_words(self) -> str:
        """Say in which order the images come."""
        return f"by {self.order}" if self.order in ("name", "cluster") else f"{self.order} first"

    def unaided_correct(self, labelling: Labelling) -> list[bool]:
        """Return, for each image just typed unaided, whether its prediction was correct."""
        return [
            self.case(self.predictions[row["image"]].text) == row["label"]
            for row in labelling.labelled_now()
            if row["image"] in self.predictions and self.is_unaided(row["image"])
        ]


def offer_prediction(prediction: Prediction, threshold: float) -> Offer:
    """Return the offer of a prediction: the confidence in percent stands beneath each character.

    Without a confidence for each character nothing stands there, and none is doubtful.
    """
    known = len(prediction.character_confidences) == len(prediction.text)
    confidences = prediction.character_confidences if known else []
    places = [place for place, confidence in enumerate(confidences) if confidence < threshold]
    marks = [str(min(99, int(100 * one))) for one in confidences] or [""] * len(prediction.text)
    remark = f"Read with a confidence of {100 * prediction.confidence:.0f} %."
    return Offer(prediction.text, places, marks, remark, "accepted")


def offer_suspect(suspect: Suspect) -> Offer:
    """Return a label under review: beneath it stands what was read differently."""
    pairs = list(itertools.zip_longest(suspect.label, suspect.prediction, fillvalue=""))
    differ = [place for place, (label, read) in enumerate(pairs) if label != read]
    if len(suspect.label) != len(suspect.prediction):
        differ = []
    marks = [read if place in differ else "" for place, (_, read) in enumerate(pairs)]
    remark = f"Read as {suspect.prediction or 'nothing'} with {100 * suspect.confidence:.0f} %."
    return Offer(suspect.label, differ, marks[: len(suspect.label)], remark, "checked")


# ---------------------------------------------------------------- what came of it


def report(labelling: Labelling, proposals: Proposals) -> list[str]:
    """Return what this run says about the model, as sentences for the person."""
    lines, correct = [], proposals.unaided_correct(labelling)
    if correct:
        share = sum(correct) / len(correct)
        low, high = utils.wilson_interval(share, len(correct))
        which = "" if proposals.order == "name" else f", of those that came {proposals.order} first"
        lines.append(
            f"Without seeing its proposal you agreed with the model on {sum(correct)} of "
            f"{len(correct)} images: {100 * share:.0f} % (95 % interval {100 * low:.0f} to "
            f"{100 * high:.0f} %){which}."
        )
    hows = [row["how"] for row in labelling.labelled_now()]
    judged = correct + [how == "accepted" for how in hows if how in ("accepted", "corrected")]
    if judged:
        accepted, corrected = hows.count("accepted"), hows.count("corrected")
        lines.append(f"{accepted} proposals were accepted, {corrected} were corrected.")
    counts, reader = labelling.counts(), proposals.reader
    trained = reader.trained if reader else None  # stays None if the model was not loaded in time
    learnt = None if trained is None else labelling.confirmed_before(trained)
    wrong = 1 - sum(judged) / len(judged) if judged else None
    if counts["open"] and (reader is None or trained is not None):
        lines.append(advice(counts["confirmed"], learnt, wrong, counts["open"]))
    return [line + "\n" for line in lines]


def advice(labels: int, learnt: int | None, wrong: float | None, left: int) -> str:
    """Say when training would pay.

    ``learnt`` of the ``labels`` existed when the model was trained (0: it is the one that ships, or
    learnt from others; None: there is no model); it reads the share ``wrong`` of the images
    incorrectly; ``left`` images are open. Twice the labels about halve the errors: 50, 100, 200,
    400 labels of the benchmark wilhelmy-1070 left 36, 10, 5 and 1.4 % of the images wrong.
    """
    enough = max(40, round(1.5 * (learnt or 0)))
    if learnt is None:
        if labels < enough:
            return f"From about {enough} labels on, train: then images come with a proposal."
        return f"{labels} labels are enough to train: then the images left come with a proposal."
    training = "Training again" if learnt else "Training"
    if labels < enough:
        return f"{training} will pay from about {enough} labels on; there are {labels}."
    corrections = (0.5 if wrong is None else wrong) * left
    if corrections < 10:
        return f"{training} would hardly save typing: {left} images are left."
    return (
        f"{training} would pay: the model learnt from {learnt or 'none'} of your {labels} labels; "
        f"of the {left} images left it would get about {corrections:.0f} wrong."
    )
