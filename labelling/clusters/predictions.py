"""From images without labels to predictions: clusters of characters, named by a person."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import model
import utils
from files.images import read_image
from labelling.clusters import by_form, grouping
from labelling.clusters.grouping import Found
from labelling.clusters.names import Naming, Sheet
from labelling.clusters.window import SheetWindow
from labelling.gui import open_gui
from utils import Prediction


def group_and_name(
    files: Sequence[Path],
    names_file: Path | None,
    characters: str | None = None,
    length: int | None = None,
) -> tuple[dict[str, int], dict[str, Prediction], str]:
    """Find out which images are of one form, and let a person name their clusters of characters.

    Returns the form of each image by file name, 0 being the commonest; the predictions by file
    name; and why clusters do not help, or "". There are no predictions if ``names_file`` is None or
    clusters do not help. Files that cannot be read are left out. ``characters`` and ``length`` are
    what can occur, where it is known. Raises OSError if no window can be opened, or if a name
    cannot be written.
    """
    images = read_images(files)
    if not images:
        return {}, {}, "None of the images can be read."
    numbers = by_form.group_images(list(images.values()))
    forms = dict(zip(images, numbers.tolist(), strict=True))
    try:
        if names_file is None:
            return forms, {}, ""
        found_forms = find_forms(images, forms, characters, length)
        return forms, name_characters(images, found_forms, names_file), ""
    except ValueError as error:
        return forms, {}, str(error)


def read_images(files: Sequence[Path]) -> dict[str, np.ndarray]:
    """Return the images, (H, W, 3) RGB, by file name; those that cannot be read are left out."""
    images = {}
    for file in utils.progress(files, "reading"):
        try:
            images[file.name] = read_image(file)
        except (ValueError, OSError) as error:
            utils.note(f"Not read: {error}")
    return images


def name_characters(
    images: dict[str, np.ndarray], found_forms: list[tuple[list[str], Found]], names_file: Path
) -> dict[str, Prediction]:
    """Let a person name the clusters of characters; return the predictions that follow.

    They are by file name, for those images of which something is known. What stands in
    ``names_file`` already is not asked again.
    """
    sheets = [sheet for names, found in found_forms for sheet in make_sheets(names, found)]
    sheets.sort(key=lambda sheet: -len(sheet.members))
    boxes = {
        (names[crop.image], crop.place): crop.box
        for names, found in found_forms
        for crop in found.crops
    }
    with contextlib.closing(Naming(sheets, names_file)) as naming:
        if naming.next_open(0) is not None:
            SheetWindow(open_gui(), naming, images, boxes, promise(found_forms)).run()
        predictions = {}
        for names, found in found_forms:
            predictions.update(propose(names, found, naming))
    return predictions


def find_forms(
    images: dict[str, np.ndarray],
    forms: dict[str, int],
    characters: str | None = None,
    length: int | None = None,
) -> list[tuple[list[str], Found]]:
    """Find the characters of each form; return the names of its images and what was found.

    Forms where clusters do not help are left out with a remark. Raises ValueError if none is left.
    """
    net, _ = model.load_model(utils.PRACTICE_MODEL)
    helpful, reasons = [], []
    for number in range(max(forms.values()) + 1):
        names = [name for name, own in forms.items() if own == number]
        try:
            some = [images[name] for name in names]
            found = grouping.find(some, net, characters=characters, length=length)
        except ValueError as error:
            reasons.append(f"{len(names)} images like {names[0]}: {error}")
            continue
        if found.helps():
            helpful.append((names, found))
        else:
            reasons.append(
                f"{len(names)} images like {names[0]}: clusters will not help here. Naming them "
                f"would save about {max(0, round(100 * found.saves))} % of the keys: the "
                "characters touch or vary too much. Label with ORDER=name."
            )
    if not helpful:
        raise ValueError(" ".join(reasons))
    for reason in reasons:
        utils.note(reason)
    return helpful


def promise(found_forms: list[tuple[list[str], Found]]) -> str:
    """Say what to do, and what it probably saves to name the clusters of all forms."""
    sheets = sum(found.cluster.max() + 1 for _, found in found_forms)
    images = [len(names) for names, _ in found_forms]
    saved = np.average([found.saves for _, found in found_forms], weights=images)
    return (
        f"Press the character that most show. Naming all {sheets} sheets probably saves "
        f"{100 * saved:.0f} % of the keys."
    )


def make_sheets(names: list[str], found: Found) -> list[Sheet]:
    """Return the clusters of one form as sheets; ``names`` are those of its images."""
    ids = [(names[crop.image], crop.place) for crop in found.crops]
    sheets = []
    for number, exemplar in enumerate(grouping.exemplars(found)):
        own = np.flatnonzero(found.cluster == number)
        far_first = own[np.argsort(-grouping.distance_to_mean(found.features[own]), kind="stable")]
        sheets.append(Sheet(ids[exemplar], [ids[i] for i in far_first]))
    return sheets


def propose(names: list[str], found: Found, naming: Naming) -> dict[str, Prediction]:
    """Return the predictions for the images of one form, by file name, from the clusters' names."""
    ids = [(names[crop.image], crop.place) for crop in found.crops]
    named = naming.names()
    cluster_names = {
        number: named[ids[i]]
        for number, i in enumerate(grouping.exemplars(found))
        if ids[i] in named
    }
    outliers = {i for i, crop in enumerate(ids) if crop in naming.outliers}
    predictions = grouping.propose(found, cluster_names, outliers)
    return {names[image]: prediction for image, prediction in predictions.items()}
