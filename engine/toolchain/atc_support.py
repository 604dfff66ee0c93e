"""What CANN's compiler takes of ONNX: opsets by CANN version, and operators.

Sources, all public: the guide (CANN 5.0.1: "the ONNX opset that ATC supports is 11"); "ONNX operator specifications" of
the ATC manual of CANN 5.0.4 and 6.0.1 (opset 9 to 13) and 7.0 (9 to 18); the list of supported ONNX operators of CANN
5.0.4 (operatorlist_0071) and what that of CANN 8.0 (operatorlist_00176) adds to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The guide's own model is made of these: they compile on every CANN since 5.0.1.
CERTAIN = _names("Add Conv Flatten Gemm GlobalAveragePool Identity MaxPool Relu")
LISTED = CERTAIN | _names(
    """
    Abs Acos Acosh AdaptiveAvgPool2D AdaptiveMaxPool2D Addcmul AffineGrid And ArgMax ArgMin AscendAntiQuant
    AscendDequant AscendDequantS16 AscendQuant AscendRequant AscendRequantS16 Asin Asinh Atan Atanh AveragePool
    BatchMatMul BatchMultiClassNMS BatchNormalization BitShift Cast Ceil Celu Clip Compress Concat Constant
    ConstantOfShape ConvTranspose Cos Cosh CumSum DeformableConv2D DepthToSpace Det Div Dropout Elu EmbeddingBag Equal
    Erf Exp Expand EyeLike Floor Gather GatherElements GatherND GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    HardSigmoid HardSwish Hardmax If InstanceNormalization LRN LSTM LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul Max MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mod Mul Multinomial Neg
    NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow RandomNormalLike RandomUniform RandomUniformLike Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Reshape Resize ReverseSequence RoiAlign RoiExtractor Round Scatter ScatterElements ScatterND Selu
    Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum
    Tanh TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Unsqueeze Where Xor
    """
)
LISTED_LATER = _names(
    """
    BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Corr DynSeqOuter Einsum GRU GridSample IsInf IsNaN LSTMP
    LayerNormalization MovingSumWithSigmoid RandomNormal SoftmaxCrossEntropyLoss Tan Trilu
    """
)
LATER_VERSION = (8, 0)
#: (CANN from this version on, lowest opset, highest opset), newest first.
OPSETS = (((7, 0), 9, 18), ((5, 0, 4), 9, 13), ((0,), 11, 11))
#: Where the version of CANN cannot be told.
USUAL_OPSETS = (9, 13)
GUIDE_OPSET = 11
OLDEST_MAJOR, NUMBERED_BY_YEAR = 3, 20
DEFAULT_DOMAINS = ("", "ai.onnx")

Version = tuple[int, ...]


@dataclass(frozen=True)
class Findings:
    """errors : why atc would refuse the model        warnings : what only atc can tell"""

    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def parse_version(text: str) -> Version | None:
    """The numbers of a CANN version such as ``5.0.4`` or ``6.3.RC2``; None where the text tells none.

    CANN's parts also count for themselves, from 1 on (``1.84.T3``): that is no version of CANN. What was called 20.x
    came before 5.
    """
    found = re.match(r"\s*(\d+(?:\.\d+)*)", text)
    numbers = tuple(int(part) for part in found[1].split(".")) if found else (0,)
    if numbers[0] < OLDEST_MAJOR:
        return None
    return (OLDEST_MAJOR,) if numbers[0] >= NUMBERED_BY_YEAR else numbers


def find_problems(model: Any, cann: Version | None) -> Findings:
    """Compare opset and operators of an ONNX model with what this CANN takes; None: its version is not known."""
    errors, warnings = [], []
    opset = next((entry.version for entry in model.opset_import if entry.domain in DEFAULT_DOMAINS), 0)
    low, high = _opsets(cann)
    of_which = f"CANN {'.'.join(map(str, cann))}" if cann else "CANN 5.0.4 to 6"
    if not low <= opset <= high:
        needed = f"opset {low}" if low == high else f"opset {low} to {high}"
        errors.append(
            f"it has opset {opset} where atc of {of_which} takes {needed}: export it with --opset {GUIDE_OPSET}"
        )
    elif opset != GUIDE_OPSET and cann is None:
        warnings.append(f"opset {opset}: {of_which} takes {low} to {high}, CANN 5.0.1 (the guide) only {GUIDE_OPSET}")
    foreign, absent, later = _sorted_out(model, cann)
    if foreign:
        warnings.append(f"operators of other domains, which only atc can judge: {', '.join(foreign)}")
    if later:
        warnings.append(f"operators that are listed for CANN 8.0 but not for 5.0.4: {', '.join(later)}")
    if absent:
        errors.append(f"it uses operators that are not in CANN's list of supported ones: {', '.join(absent)}")
    return Findings(tuple(errors), tuple(warnings))


def _opsets(cann: Version | None) -> tuple[int, int]:
    if cann is None:
        return USUAL_OPSETS
    return next((low, high) for since, low, high in OPSETS if cann >= since)


def _sorted_out(model: Any, cann: Version | None) -> tuple[list[str], list[str], list[str]]:
    """Operators of other domains, operators that this CANN does not list, and those that may be too new for it."""
    used = set(_operators(model.graph))
    foreign = sorted(f"{domain}.{name}" for domain, name in used if domain not in DEFAULT_DOMAINS)
    own = {name for domain, name in used if domain in DEFAULT_DOMAINS}
    listed = LISTED | (LISTED_LATER if cann is None or cann >= LATER_VERSION else frozenset())
    later = sorted(own & LISTED_LATER) if cann is None else []
    return foreign, sorted(own - listed), later


def _operators(graph: Any) -> Iterator[tuple[str, str]]:
    """(domain, name) of each node, those of inner graphs too."""
    for node in graph.node:
        yield node.domain, node.op_type
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _operators(inner)
