"""The guide's scripts, from their description: what `engine preprocess` and `engine info` are tested against.

Arithmetic and file formats of the ModelZoo's ``imagenet_torch_preprocess.py`` and ``gen_dataset_info.py``, written with
Pillow and NumPy only.
"""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import numpy as np
from PIL import Image

#: resize, crop, mean, std of the script's three models.
MODELS = {
    "resnet": (256, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inceptionv3": (342, 299, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inceptionv4": (342, 299, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def guide_preprocess(model: str, images: Path, tensors: Path) -> None:
    """A tensor for every image of the folder, as the script writes it."""
    short, side, mean, std = MODELS[model]
    tensors.mkdir(parents=True, exist_ok=True)
    for name in os.listdir(images):
        image = Image.open(images / name).convert("RGB")
        width, height = image.size
        if min(width, height) != short:
            size = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
            image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (round((total - side) / 2.0) for total in image.size)
        values = np.array(image.crop((left, top, left + side, top + side)), np.float32).transpose(2, 0, 1) / 255.0
        values -= np.array(mean, np.float32)[:, None, None]
        values /= np.array(std, np.float32)[:, None, None]
        values.tofile(tensors / (name.split(".")[0] + ".bin"))


def guide_info(folder: str, info: Path, width: str, height: str) -> None:
    """The script's list of the folder's tensors, in whatever order the folder lists them."""
    with info.open("w") as file:
        for i, path in enumerate(glob.glob(os.path.join(folder, "*.bin"))):
            file.write(f"{i} {path} {width} {height}\n")


def guide_result(dumps: Path, labels: Path, result: Path) -> None:
    """The accuracy over a folder of one text file per image, as ``imagenet_acc_eval.py`` computes and prints it."""
    classes = {}
    for line in labels.read_text().splitlines():
        name, class_id = line.strip().split(" ")
        classes[name.split(".")[0]] = class_id
    hits, n_images = np.zeros(5), 0
    for name in os.listdir(dumps):
        n_images += 1
        stem = name.split(".")[0]
        scores = np.array((dumps / name).read_text().splitlines()[0].split(), np.float32)
        label = int(classes[stem[: stem.rfind("_")]]) + (len(scores) == 1001)
        for rank, class_id in enumerate(np.argsort(-scores)[:5]):
            if class_id == label:
                hits[rank] += 1
                break
    rows = [("Number of images", str(n_images)), ("Number of classes", str(len(scores)))]
    accuracy = np.cumsum(hits) / n_images
    rows += [(f"Top{i + 1} accuracy", str(round(share * 100, 2)) + "%") for i, share in enumerate(accuracy)]
    document = {"title": "Overall statistical evaluation", "value": [{"key": k, "value": v} for k, v in rows]}
    result.write_text(json.dumps(document))
