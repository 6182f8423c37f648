"""Read images with a model that was exported as ONNX; needs onnxruntime, numpy and Pillow alone.

python onnx_reader.py captcha.onnx a.png b.jpg
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


class OnnxReader:
    """Reads images with one ONNX file, on as many threads as it is given."""

    def __init__(self, file: str, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(file, options, providers=providers)
        self.charset = json.loads(self.session.get_modelmeta().custom_metadata_map["charset"])

    def read(self, images: np.ndarray) -> list[tuple[str, float, list[float]]]:
        """Read RGB images of one size, (N, H, W, 3) uint8.

        Returns for each its text, the confidence of it, and that of each character.
        """
        found = self.session.run(["classes", "confidences", "confidence"], {"images": images})
        return [
            (
                "".join(self.charset[c - 1] for c in classes if c > 0),
                float(confidence),
                confidences[classes > 0].tolist(),
            )
            for classes, confidences, confidence in zip(*found, strict=True)
        ]


def decode(file: str) -> np.ndarray:
    """Return an image file as RGB, (H, W, 3) uint8; what is transparent becomes white."""
    with Image.open(file) as image:
        if image.mode.startswith("I"):  # 16 bits of grey
            grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if not image.has_transparency_data:
            return np.array(image.convert("RGB"))
        rgba = np.asarray(image.convert("RGBA")).astype(np.uint16)
    alpha = rgba[:, :, 3:]
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


if __name__ == "__main__":
    reader = OnnxReader(sys.argv[1])
    for name in sys.argv[2:]:
        text, confidence, _ = reader.read(decode(name)[None])[0]
        print(f"{name}\t{text}\t{confidence:.4f}")
