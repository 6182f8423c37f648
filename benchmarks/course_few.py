"""Few labels and none, for the course: fine-tuning, hyper-parameters, a model that teaches itself.

    python benchmarks/course_few.py
    python benchmarks/course_few.py PART=settings SEEDS=[0]

Prints the figures of each part over the seeds and draws its picture. Trainings that are in
WORK_FOLDER already are not repeated.
"""

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import utils
from benchmarks import course
from benchmarks.course import RED, spread
from practice import forms
from reading.reader import Reader
from training import plots
from utils import Prediction

# ---- edit these ----------------------------------------------------------------------------------
PART = "all"  # or tuning, settings, rounds, nonsense
SEEDS = [0, 1, 2]
COUNTS = [20, 50, 100]  # labels, from scratch; the model that ships gets those below
TUNING_COUNTS = [20, 50]
WORK_FOLDER = utils.DATA / "course"  # for images, splits and models
# --------------------------------------------------------------------------------------------------

# What is changed, one at a time, in the training from scratch with 50 labels.
CHANGES = [
    "LEARNING_RATE=0.001",
    "LEARNING_RATE=0.009",
    "BATCH_SIZE=16",
    "EPOCHS=3",
]

# What it is told that there is, which digits it is then asked about, and how they are plotted
LIES = [
    ("half", "01234", "56789", "the digits 5 to 9, told: only 0 to 4"),
    ("nonsense", "012345678", "9", "the digit 9, told: no 9"),
]


def main() -> None:
    """Make the parts."""
    utils.settings(globals(), sys.argv[1:])
    plots.use_screen(False)
    for part in PARTS if PART == "all" else [PART]:
        PARTS[part]()


def tuning() -> None:
    """Compare starting from the model that ships with starting from scratch."""
    figure, axes = plt.subplots(figsize=(course.WIDTH, 3), layout="constrained")
    named = {"practice": "from the model that ships", "None": "from scratch"}
    for (start, label), (colour, style) in zip(named.items(), course.STYLES, strict=False):
        means = []
        counts = COUNTS if start == "None" else TUNING_COUNTS
        change = "" if start == "None" else "EPOCHS=1"  # it needs no more
        for count in counts:
            runs = [course.few(WORK_FOLDER, count, start, seed, change) for seed in SEEDS]
            tests = [100 * run.metrics["test"]["image_accuracy"] for run in runs]
            print(f"{start:8} {count:4d} labels: {spread(tests)} of the test", flush=True)
            axes.plot([count] * len(tests), tests, "o", color=colour, alpha=0.6)
            means.append(statistics.mean(tests))
        axes.plot(counts, means, style, color=colour, label=label)
    axes.set(xscale="log", xlabel="labelled images", ylabel="test digits read correctly (%)")
    axes.set_title("Twenty labels: few from scratch, plenty for a trained network", fontsize=11)
    axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    course.save(figure, "tuning.png")


def settings() -> None:
    """Change one hyper-parameter at a time; judged by validation."""
    for change in ["", *CHANGES]:
        runs = [course.few(WORK_FOLDER, 50, "None", seed, change) for seed in SEEDS]
        values = [100 * run.metrics["val"]["image_accuracy"] for run in runs]
        losses = [run.metrics["val"]["loss"] for run in runs]
        print(
            f"{change or 'as above':20} {spread(values)} of validation, loss "
            f"{statistics.mean(losses):.3f} ({min(losses):.3f} to {max(losses):.3f})",
            flush=True,
        )


def taught(name: str, folder: Path, rounds: int, seed: int, *settings: str) -> course.Run:
    """Let the model that ships teach itself the images of a folder."""
    return course.train(
        WORK_FOLDER / f"{name}_{rounds}_{seed}", "SPLIT_FOLDER=None", f"UNLABELLED_FOLDER={folder}",
        f"ROUNDS={rounds}", "EPOCHS=1", f"SEED={seed}", *settings,
    )  # fmt: skip


def leaning(number: int, seed: int) -> tuple[np.ndarray, str]:
    """Draw a captcha of a site that the model does not know: ``simple``, leaning by 45 degrees."""
    image, answer = forms.draw("simple", number, seed)
    width, height = image.size
    lean = (1, 1, -height, 0, 1, 0)  # x + y - height, y: where each pixel comes from
    ground = image.getpixel((0, 0))
    size = (width + height, height)
    leant = image.transform(
        size, Image.Transform.AFFINE, lean, Image.Resampling.BILINEAR, fillcolor=ground
    )
    return np.asarray(leant), answer


def rounds() -> None:
    """Let it teach itself a form that it reads badly: too briefly, and longer."""
    folder = WORK_FOLDER / "leaning"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(300):
        Image.fromarray(leaning(number, seed=0)[0]).save(folder / f"{number}.png")
    drawn = [leaning(number, seed=7) for number in range(200)]
    images, labels = [image for image, _ in drawn], [answer for _, answer in drawn]
    readers = {"before": Reader("practice", sample=utils.image_files(folder))}
    for epochs, number in ((1, 1), (None, 2)):
        run = taught(f"rounds{epochs}", folder, number, SEEDS[0], f"EPOCHS={epochs}")
        each = " and ".join(str(training["epochs"]) for training in run.metrics["trainings"])
        if run.metrics["unlearnt"]:  # then its first teacher was kept
            print(f"{number} rounds of {each}: {run.output.splitlines()[-2]}")
        else:
            readers[f"{number} rounds of {each}"] = reader_of(run)
    read = {name: reader.read_all(images) for name, reader in readers.items()}
    for name, predictions in read.items():
        pairs = zip(predictions, labels, strict=True)
        correct = statistics.mean(one.text.lower() == label for one, label in pairs)
        sure = statistics.mean(one.confidence for one in predictions)
        print(f"{name}: {100 * correct:.1f} % of {len(labels)}, mean confidence {100 * sure:.0f} %")
    # Those in which most changed
    first, last = read["before"], predictions
    order = sorted(range(len(images)), key=lambda i: first[i].confidence - last[i].confidence)
    cells, titles, colours = [], [], []
    for i in order[:6]:
        for name, one in (("before", first[i]), ("2 rounds", last[i])):
            cells.append(images[i])
            titles.append(f"{name}: {one.text} {100 * one.confidence:.0f} %")
            colours.append("black" if one.text.lower() == labels[i] else RED)
    heading = "Read before and after two rounds (wrong in red)"
    figure = plots.image_sheet(cells, titles, colours, heading, 4)
    figure.set_size_inches(course.WIDTH, 3.2)
    course.save(figure, "rounds.png")


def nonsense() -> None:
    """Let it teach itself digits, of which it is told wrongly which characters there are."""
    folder = course.fetch("digit", 400, WORK_FOLDER / "digit_crawl", seed=3)
    drawn = [forms.draw("digit", number, seed=7) for number in range(600)]
    figure, axes = plt.subplots(figsize=(course.WIDTH, 3), layout="constrained")
    for (name, characters, asked, label), (colour, style) in zip(LIES, course.STYLES, strict=False):
        images = [np.asarray(image) for image, answer in drawn if answer in asked]
        for seed in SEEDS:
            told = [f"CHARACTERS='{characters}'", "LENGTH=1"]
            runs = [taught(name, folder, rounds, seed, *told) for rounds in (1, 3)]
            readers = [Reader("practice", characters, 1, utils.image_files(folder))]
            read = [reader.read_all(images) for reader in [*readers, *map(reader_of, runs)]]
            sure = [100 * statistics.mean(one.confidence for one in some) for some in read]
            last = len(runs[-1].metrics["trainings"])  # 3 rounds, or fewer if the readings settle
            axes.plot([0, 1, last], sure, f"o{style}", color=colour, label=None if seed else label)
            for some, when in zip(read, ("before", "1 round", f"{last} rounds"), strict=True):
                print(f"{name}, seed {seed}, {when}: {described(some)}", flush=True)
            print(runs[-1].output.splitlines()[-2])
    axes.set(xlabel="rounds of teaching itself", ylabel="mean confidence (%)", ylim=(0, 102))
    axes.set_title("All of these readings are wrong; some grow surer all the same", fontsize=11)
    axes.set_xticks(range(4))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    course.save(figure, "nonsense.png")


def reader_of(run: course.Run) -> Reader:
    """Return a reader with the model of a training."""
    return Reader(run.folder / "captcha.safetensors")


def described(read: list[Prediction]) -> str:
    """Say what was read most often, and how surely."""
    texts = [one.text for one in read]
    common = sorted(set(texts), key=texts.count, reverse=True)[:4]
    sure = [one.confidence for one in read]
    above = statistics.mean(confidence > 0.8 for confidence in sure)
    return (
        f"{len(read)} read as {', '.join(f'{text} ({texts.count(text)})' for text in common)}, "
        f"mean confidence {100 * statistics.mean(sure):.0f} %, {100 * above:.0f} % above 80 %"
    )


PARTS: dict[str, Callable[[], None]] = {
    "tuning": tuning,
    "settings": settings,
    "rounds": rounds,
    "nonsense": nonsense,
}


if __name__ == "__main__":
    utils.run(main)
