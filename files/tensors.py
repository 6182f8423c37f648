"""Files of tensors and texts that are whole: safetensors, with a checksum.

Such a file holds numbers and JSON, nothing that could run code.
"""

import hashlib
import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from files.atomic import replacing


def save_tensors(path: Path, tensors: dict[str, Tensor], texts: dict[str, str]) -> None:
    """Write tensors and texts, which replace the old file."""
    sealed = {**texts, "sha256": checksum(tensors, texts)}
    with replacing(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(tensors, sealed))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and texts of a file. Raises ValueError if it is damaged, or another kind.

    The checksum notices a single wrong bit, which would only make a network read worse.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            texts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged, or not a model of this project.") from error
    if "sha256" not in texts:
        raise ValueError(f"{path} is not a model of this project.")
    if texts.pop("sha256") != checksum(tensors, texts):
        raise ValueError(f"{path} is damaged: its checksum is wrong.")
    return tensors, texts


def checksum(tensors: dict[str, Tensor], texts: dict[str, str]) -> str:
    """Return the SHA-256 of tensors and texts, in hex."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
