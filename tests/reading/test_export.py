import importlib.util
import json

import cv2
import numpy as np
import pytest
import torch
from helpers import assert_one_sentence, practice_folder, project, run_here, small_net
from PIL import Image

import utils
from files.images import FOUND, WHOLE, WRITTEN, InputSpec, fit_image, read_image
from model import SURE, compute_logits, prepare, read_images, save_model
from reading import export, limits
from reading.graph import fit_images
from training import parallel

pytestmark = pytest.mark.timeout(900)  # PyTorch takes a minute to write a file on a busy computer


def page(height, width, seed=0):
    """Return an RGB image with strokes on a grey ground, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(180, 256, 3), np.uint8)
    for _ in range(5):
        low, high = (width // 5, height // 5), (4 * width // 5 + 1, 4 * height // 5 + 1)
        ends = [tuple(map(int, rng.integers(low, high))) for _ in range(2)]
        cv2.line(image, *ends, [int(c) for c in rng.integers(0, 160, 3)], 2)
    noise = rng.integers(-4, 5, image.shape)
    return (image.astype(int) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cut", [WHOLE, (0.13, 0.2, 0.9, 0.77), WRITTEN])
@pytest.mark.parametrize("stretch", [0.579, 1, 1.728])
def test_the_graph_fits_images_of_any_size_as_opencv_does(stretch, cut, channels):
    spec = InputSpec(40, 96, channels, cut, stretch)
    sizes = [(20, 48), (30, 90), (27, 200), (80, 192), (53, 99), (120, 60), (5, 300), (1, 1)]
    different = []
    for height, width in sizes:
        images = np.stack([page(height, width, seed) for seed in range(2)])
        fitted = fit_images(torch.from_numpy(images), spec).numpy()
        wanted = np.stack([fit_image(image, spec) for image in images]).astype(float)
        assert np.abs(fitted - wanted).max() <= 1, (height, width)
        different.append((fitted != wanted).mean())
    # On some processors OpenCV rounds in another way; stretching rounds once more.
    assert np.mean(different) < (0.02 if stretch == 1 else 0.03)
    blank = np.full((1, 30, 90, 3), 77, np.uint8)
    assert (fit_images(torch.from_numpy(blank), spec) == 77).all()


def decisive_net(head, cut, channels, context=False):
    """Return a network with random weights that is sure of some images, and unsure of others."""
    net = small_net(head, "abAB1", 4, (32, 64), channels, context)
    net.spec = net.spec._replace(cut=cut)
    net.temperature.fill_(1.3)
    for name, parameter in net.head.named_parameters():
        if "classifier" in name and parameter.ndim == 2:
            parameter.data *= 4000 if head == "attention" else 1500
    return net.eval()


@pytest.fixture(scope="module", params=["attention", "flatten"])
def exported(request, tmp_path_factory):
    """A network, its ONNX file, the images that both were compared by, and the verdict."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    if request.param == "attention":
        net = decisive_net("attention", (0.05, 0.0, 0.95, 1.0), 3, context=True)
        limits.limit(net, "aB1", None)
        net.spec = net.spec._replace(stretch=1.2)
    else:
        net = decisive_net("flatten", WRITTEN, 1)
    images = [page(*size, seed) for seed in range(8) for size in ((40, 90), (25, 61))]
    path = tmp_path_factory.mktemp("onnx") / "captcha.onnx"
    return net, path, images, export.export(net, images, path, "float32", "a test")


def test_both_read_the_same_and_the_file_says_what_it_is(exported):
    import onnxruntime

    net, path, images, verdict = exported
    assert verdict.startswith("PyTorch and ONNX agree on 16 of 16 images; largest difference of a ")
    assert float(verdict.split()[-1]) < 1e-3
    sure = [read_one(net, image).confidence >= SURE for image in images]
    assert any(sure)
    assert not all(sure)
    texts = onnxruntime.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert json.loads(texts["charset"]) == list(net.charset)
    assert texts["site"] == "a test"
    assert json.loads(texts["input"])["channels"] == net.spec.channels


def test_the_reader_in_docs_reads_the_same_without_torch(exported, tmp_path):
    net, path, images, _ = exported
    source = project / "docs" / "onnx_reader.py"
    assert len(source.read_text().splitlines()) <= 60
    spec = importlib.util.spec_from_file_location("onnx_reader", source)
    docs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docs)
    reader = docs.OnnxReader(str(path))
    pictures = [Image.fromarray(image) for image in images[:4]]
    pictures += [pictures[0].convert(mode) for mode in ("L", "P", "RGBA", "I;16")]
    pictures[-2].putalpha(pictures[-4])  # half transparent
    files = []
    for number, picture in enumerate(pictures):
        files.append(tmp_path / f"{number}.png")
        picture.save(files[-1])
    for file in files:
        pixels = read_image(file)
        assert (docs.decode(str(file)) == pixels).all()
        wanted = read_one(net, pixels)
        ((text, confidence, characters),) = reader.read(pixels[None])
        assert text == wanted.text
        assert confidence == pytest.approx(wanted.confidence, abs=1e-3)
        assert characters == pytest.approx(wanted.character_confidences, abs=1e-3)
    batch = np.stack(images[::2])
    alone = [reader.read(image[None])[0] for image in batch]
    assert [read[0] for read in reader.read(batch)] == [read[0] for read in alone]


def test_half_the_weights_or_a_wrong_graph(exported, monkeypatch, tmp_path):
    """A file that reads otherwise than PyTorch is refused and not written."""
    net, path, images, _ = exported
    import onnx

    proto = onnx.load(path)
    export.halve(proto.graph)
    small = proto.SerializeToString()
    assert len(small) < 0.7 * path.stat().st_size
    assert len(export.read_with_onnx(small, images, net.charset)) == len(images)
    monkeypatch.setattr(export, "to_onnx", lambda *_: path.read_bytes())
    other = decisive_net(net.head_name, net.spec.cut, net.spec.channels, net.context)
    other.charset, other.length, other.rows = net.charset, net.length, net.rows
    other.mean += 40
    with pytest.raises(ValueError, match=r"agree on \d+ of 16 images.*was not written"):
        export.export(other, images, tmp_path / "x.onnx", "float32", "a test")
    assert not list(tmp_path.iterdir())


def read_one(net, image):
    """Read an RGB image (H, W, 3) as predict.py does."""
    return read_images(net, prepare(net, image)[None])[0]


def test_all_processors_read_in_float32_and_train_in_what_is_fast(monkeypatch):
    net = decisive_net("attention", WHOLE, 3)
    images = torch.from_numpy(np.stack([fit_image(page(40, 90, s), net.spec) for s in range(4)]))
    read = {}
    for supported in (False, True):
        monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda value=supported: value)
        read[supported] = read_images(net, images)
    assert read[True] == read[False]
    with torch.no_grad():
        expected = net.eval()(images)
    assert torch.equal(compute_logits(net, images), expected)
    assert not torch.equal(parallel.compute_logits(net, images), expected)  # bfloat16


def test_what_is_missing_is_said_in_one_sentence(tmp_path, monkeypatch):
    net = small_net()
    save_model(net, tmp_path / "m.safetensors", {})
    images = practice_folder(tmp_path / "new", 2, "digit")
    arguments = (f"MODEL_FILE={tmp_path / 'm.safetensors'}", f"EXPORT_ONNX={tmp_path / 'x.onnx'}")
    done = run_here("predict.py", *arguments, "ONNX_WEIGHTS=int3", images)
    assert_one_sentence(done, "ONNX_WEIGHTS is 'int3'")
    done = run_here("predict.py", *arguments, f"IMAGES={tmp_path / 'none'}")
    assert_one_sentence(done, "no file or folder")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = "EXPORT_ONNX needs onnx, onnxscript, onnxruntime: pip install -r requirements-onnx"
    assert_one_sentence(run_here("predict.py", *arguments, images), sentence)
    done = run_here("train_script.py", "EXPORT_ONNX=True", f"SPLIT_FOLDER={tmp_path / 'none'}")
    assert_one_sentence(done, sentence)
    net.spec = net.spec._replace(cut=FOUND)
    with pytest.raises(ValueError, match="must be suited to images"):
        fit_images(torch.zeros(1, 20, 40, 3, dtype=torch.uint8), net.spec)
    assert utils.image_files(images)
    assert not (tmp_path / "x.onnx").exists()
