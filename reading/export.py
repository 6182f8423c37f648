"""A model as one ONNX file, for programs without PyTorch; docs/onnx_reader.py reads with it.

The file holds all that predict.py does with the pixels of an image; see graph.py. Only decoding
image files is left to others.
"""

import contextlib
import copy
import importlib
import importlib.util
import io
import json
import logging
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import model
from files.atomic import replacing
from files.framing import spread
from files.images import read_image
from files.split_names import labelled_images
from model import CaptchaNet
from reading.graph import ReadingGraph
from utils import Prediction

FORMAT = "captcha-recognizer onnx 1"
EXTRAS = ("onnx", "onnxscript", "onnxruntime")  # requirements-onnx.txt
OPSET = 20
COMPARED = 1000  # validation images, at most, that PyTorch and ONNX both read
OUTPUTS = ["classes", "confidences", "confidence"]
TOLERANCE = {"float32": 1e-3, "float16": 2e-2}  # of a confidence, by the kind of weights
ABOUT = """\
images: (N, H, W, 3) uint8, RGB, of any size, all of one batch of the same; transparent parts white.
classes: (N, length); 0 is no character, c is charset[c - 1].
confidences: (N, length), the probability that a position is read correctly.
confidence: (N,), that of the whole text: the product over all positions.\
"""


def check_extras() -> None:
    """Raise ValueError if a package is missing that only the export needs."""
    missing = [name for name in EXTRAS if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"EXPORT_ONNX needs {', '.join(missing)}: pip install -r requirements-onnx.txt"
        )


def export(
    net: CaptchaNet, images: Sequence[np.ndarray], path: Path, weights: str, site: str
) -> str:
    """Write a network as an ONNX file and return what a comparison with PyTorch says.

    Both read the RGB ``images`` (H, W, 3). ``weights`` are "float32" or "float16", ``site`` says
    what the network was trained on or suited to. Raises ValueError, and writes nothing, if the two
    disagree.
    """
    if weights not in TOLERANCE:
        raise ValueError(f"ONNX_WEIGHTS is {weights!r}; it must be one of {', '.join(TOLERANCE)}.")
    check_extras()
    if not images:
        raise ValueError("none of the images to compare PyTorch and ONNX by can be read.")
    net = copy.deepcopy(net).cpu().eval()
    data = to_onnx(net, weights, site)
    expected = model.read_images(net, torch.stack([model.prepare(net, image) for image in images]))
    found = read_with_onnx(data, images, net.charset)
    same = sum(a.text == b.text for a, b in zip(expected, found, strict=True))
    largest = max(abs(a.confidence - b.confidence) for a, b in zip(expected, found, strict=True))
    verdict = (
        f"PyTorch and ONNX agree on {same} of {len(images)} images; "
        f"largest difference of a confidence {largest:.0e}"
    )
    if same < len(images) or not largest <= TOLERANCE[weights]:
        raise ValueError(f"{verdict}: not good enough, so {path} was not written.")
    with replacing(path) as temporary:
        temporary.write_bytes(data)
    return verdict


def export_trained(net: CaptchaNet, folder: Path, path: Path) -> str:
    """Write a network that train_script.py made as an ONNX file; return what the comparison says.

    Both read the validation images of the split in ``folder``, COMPARED at most, evenly spread.
    """
    images = [read_image(file) for file, _ in spread(labelled_images(folder), COMPARED)]
    return export(net, images, path, "float32", "of the training")


def to_onnx(net: CaptchaNet, weights: str, site: str) -> bytes:
    """Return a network on the CPU as the content of an ONNX file."""
    any_size = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, 50, 120, 3, dtype=torch.uint8)
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it misses torchvision, which nothing here needs
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                ReadingGraph(net).eval(),
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=OUTPUTS,
                dynamic_shapes=({0: any_size, 1: any_size, 2: any_size},),
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None  # it is only for the exporter of old
    proto = program.model_proto
    tidy(proto.graph)
    if weights == "float16":
        halve(proto.graph)
    texts = {
        "format": FORMAT,
        "charset": json.dumps(list(net.charset)),
        "length": str(net.length),
        "input": json.dumps(net.spec._asdict()),
        "temperature": str(net.temperature.item()),
        "weights": weights,
        "site": site,
        "about": ABOUT,
    }
    for key, value in texts.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return proto.SerializeToString()


def tidy(graph: Any) -> None:  # noqa: ANN401 (onnx is imported where it is needed)
    """Leave out of a graph where each node came from, and the weights that none needs."""
    used = set()
    for part in parts(graph):
        for node in part.node:
            del node.metadata_props[:]
            node.doc_string = ""
            used.update(node.input)
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]


def parts(graph: Any) -> list[Any]:  # noqa: ANN401
    """Return a graph and those inside it: the branches of its conditions."""
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return [graph, *(part for one in inner for part in parts(one))]


def halve(graph: Any) -> None:  # noqa: ANN401
    """Keep the weights of a graph in 16 bits; they are made 32 bits where it is loaded."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= 256:
            values, name = numpy_helper.to_array(tensor).astype(np.float16), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(values, f"{name}_16"))
            casts.append(helper.make_node("Cast", [f"{name}_16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def read_with_onnx(data: bytes, images: Sequence[np.ndarray], charset: str) -> list[Prediction]:
    """Read RGB images (H, W, 3) with the content of an ONNX file, those of one size together."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(data, options, providers=providers)
    batches: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, image in enumerate(images):
        batches[image.shape].append(number)
    predictions: dict[int, Prediction] = {}
    for same_size in batches.values():
        for numbers in (same_size[i : i + 32] for i in range(0, len(same_size), 32)):
            batch = np.stack([images[number] for number in numbers])
            classes, chances, whole = session.run(OUTPUTS, {"images": batch})
            for number, row, chance, all_of_it in zip(
                numbers, classes, chances, whole, strict=True
            ):
                (text,) = model.decode_labels(row[None], charset)
                predictions[number] = Prediction(text, float(all_of_it), chance[row > 0].tolist())
    return [predictions[number] for number in range(len(images))]
