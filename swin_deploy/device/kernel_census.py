"""Count what an engine runs: kernels, matrix products by type, fused attentions, and work that only moves data.

The figures come from the builder's log or the engine inspector (`engine_listing`), so a graph can be judged with no
GPU. They say what was fused and in which types; they are not latency.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from swin_deploy.device.engine_listing import EngineLayer, LayerTensor, read_listings
from swin_deploy.errors import BadInput

__all__ = ["TYPES", "Kernel", "KernelCensus", "counted", "kernels_of", "parse_census", "parse_inspector"]

TYPES = ("int8", "fp8", "fp16", "bf16", "fp32", "unknown")
"""What a product reads, in the order of width."""

_WIDTH = {"int8": 1, "fp8": 1, "fp16": 2, "bf16": 2, "fp32": 4}

# Arithmetic on shapes, done on the host.
_SHAPES = frozenset({"shape_call", "Shape", "ShapeHostToDevice", "DeviceToShapeHost"})
# Events between streams, and what is nothing at run time.
_NOTHING = frozenset({"signal", "wait", "Constant", "NoOp"})
# Layers of TensorRT itself that copy, in another order or another type.
_MOVERS = frozenset({"Reformat", "Shuffle", "Slice", "Concat", "Copy", "Gather", "Cast", "Quantize", "Dequantize"})
_PRODUCT = re.compile(r"gemm|matrixmultiply|matmul|fullyconnected|^(runtime_)?fusion$", re.IGNORECASE)
_CONVOLUTION = re.compile(r"conv|correlation", re.IGNORECASE)

# Myelin, the compiler inside TensorRT, names its kernels after what they do: `__myl_CastReplConc_myl0_1`.
_GENERATED = re.compile(r"^__myl_([A-Za-z]+?)(?:_myl\d+_\d+)?$")
_MOVES = frozenset({"Resh", "Tran", "Slic", "Move", "Conc", "Repl", "Gath", "Pad", "Squ", "Exp", "Copy"})
_QUANTIZES = frozenset({"Mul", "Div", "Min", "Max", "Roun", "Cast", "Clip"})
# The fused attention's own name, `_gemm_mha_v2_0x...`; a user's module may well be called `mha`.
_ATTENTION = re.compile(r"^_?(?:gemm|fused)?_?f?mha(?:_v\d)?(?:_|$)|^_gemm_mha", re.IGNORECASE)

_PRODUCT_NODE = re.compile(r"(?:MatMul|Gemm)[^/]*$")
_CONV_NODE = re.compile(r"Conv[^/]*$")
_SOFTMAX_NODE = re.compile(r"softmax", re.IGNORECASE)


@dataclass(frozen=True)
class KernelCensus:
    """The layers of one engine.

    Attributes:
        kernels: Layers that launch a kernel.
        fused_attentions: Kernels that hold a whole attention (both products and the softmax).
        gemms: Matrix products, with or without a fused epilogue, outside fused attentions; a kernel that holds several
            of the graph's products counts each.
        int8_gemms: Those of `gemms` that read INT8.
        opaque: Layers that hide their kernels (TensorRT 8 prints a whole fused region as one `Myelin` layer), or of
            which only the name is listed; with any, every figure is a lower bound.
        by_type: Count by the builder's own layer type.
        gemms_by_type: `gemms` by the type of what they read; see `TYPES`.
        attention_gemms_by_type: Those of them that are the products of attentions which were not fused.
        convolutions_by_type: The same of convolutions.
        reformats: Kernels that only copy, in another order or layout.
        casts: Kernels that only change a type (copying or not), a quantization alone included.
        shapes: Layers that compute shapes; they run on the host and launch nothing.
        tf32_gemms: Products and convolutions whose kernel says that it rounds FP32 to TF32.
        unfused: Softmaxes of the graph that stand outside a fused attention, by name.
        attentions_by_type: `fused_attentions` by the type of what they read.
    """

    kernels: int
    fused_attentions: int
    gemms: int
    int8_gemms: int
    opaque: int
    by_type: Mapping[str, int]
    gemms_by_type: Mapping[str, int] = field(default_factory=dict)
    attention_gemms_by_type: Mapping[str, int] = field(default_factory=dict)
    convolutions_by_type: Mapping[str, int] = field(default_factory=dict)
    reformats: int = 0
    casts: int = 0
    shapes: int = 0
    tf32_gemms: int = 0
    unfused: tuple[str, ...] = ()
    attentions_by_type: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what a manifest that was changed may hold.

        Raises:
            BadInput: a count is none.
        """
        object.__setattr__(self, "unfused", tuple(self.unfused))  # JSON has lists only
        counts: list[Any] = []
        for value in (getattr(self, entry.name) for entry in fields(self) if entry.name != "unfused"):
            counts += value.values() if isinstance(value, Mapping) else [value]
        if not all(type(count) is int and count >= 0 for count in counts):
            raise BadInput("a census of kernels whose counts are no counts", needed="whole numbers from 0 on")

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "unfused": list(self.unfused)}


@dataclass(frozen=True)
class Kernel:
    """One layer with what was made of it.

    Attributes:
        layer: As listed.
        kind: `product`, `convolution`, `attention`, `reformat`, `cast`, `other` (norms and elementwise maps), `opaque`;
            `shape` and `nothing` launch no kernel.
        type: What it reads, as in `TYPES`.
        products: How many of the graph's matrix products it computes, outside fused attentions.
    """

    layer: EngineLayer
    kind: str
    type: str
    products: int = 0

    @property
    def launches(self) -> bool:
        """Whether it runs on the GPU."""
        return self.kind not in ("shape", "nothing")


def parse_census(log_text: str) -> tuple[KernelCensus, ...]:
    """One census for each engine listing in `log_text`, in order; empty when the log has none.

    A plan for several GPU architectures usually has one listing, which holds for all of them.
    """
    return tuple(counted(kernels_of(layers)) for layers in read_listings(log_text))


def parse_inspector(json_text: str) -> KernelCensus:
    """The census of an engine inspector's JSON.

    Raises:
        BadInput: it is not such JSON.
    """
    listings = read_listings(json_text)
    return counted(kernels_of(listings[0] if listings else ()))


def kernels_of(layers: Sequence[EngineLayer]) -> tuple[Kernel, ...]:
    """What each layer is.

    A product that a generated kernel computes (a product with one row, say) is told by the graph's node, which no
    product kernel names then. The epilogue of a quantized product names its node too, but so does the product itself;
    a node that several product kernels name makes none of them two products.
    """
    kinds = [_kind(layer) for layer in layers]
    claims = Counter(name for layer, kind in zip(layers, kinds) if kind == "product" for name in _product_nodes(layer))
    named: set[str] = set()
    for layer, kind in zip(layers, kinds):
        if kind in ("product", "attention", "opaque"):
            named.update(_product_nodes(layer))
    kernels: list[Kernel] = []
    for layer, kind in zip(layers, kinds):
        products = 0
        if kind == "product":
            products = max(1, sum(claims[name] == 1 for name in _product_nodes(layer)))
        elif kind in ("other", "reformat", "cast"):
            left = [name for name in _product_nodes(layer) if name not in named]
            named.update(left)
            products, kind = len(left), "product" if left else kind
        # An attention's largest constant is its bias, which says nothing of the products.
        kernel_type = (_narrowest(layer.inputs) or "unknown") if kind == "attention" else _type_read(layer)
        kernels.append(Kernel(layer, kind, kernel_type, products))
    return tuple(kernels)


def counted(kernels: Sequence[Kernel]) -> KernelCensus:
    """The census of one engine's layers."""
    launched = [kernel for kernel in kernels if kernel.launches]
    gemms, tf32 = Counter(dict.fromkeys(TYPES, 0)), 0
    for kernel in launched:
        gemms[kernel.type] += kernel.products
        if "tf32" in kernel.layer.tactic.lower():
            tf32 += kernel.products or kernel.kind == "convolution"
    kinds = Counter(kernel.kind for kernel in kernels)
    attentions = [kernel for kernel in launched if kernel.kind == "attention"]
    fused = {name for kernel in attentions for name in kernel.layer.onnx}
    softmaxes = [name for kernel in launched for name in kernel.layer.onnx if _SOFTMAX_NODE.search(name)]
    unfused = tuple(dict.fromkeys(name for name in softmaxes if name not in fused))
    modules = {_module(name) for name in unfused}
    loose = Counter(
        kernel.type
        for kernel in launched
        if any(_module(name) in modules for name in _product_nodes(kernel.layer)) and kernel.products
    )
    return KernelCensus(
        kernels=len(launched),
        fused_attentions=len(attentions),
        gemms=sum(gemms.values()),
        int8_gemms=gemms["int8"],
        opaque=kinds["opaque"],
        by_type=dict(sorted(Counter(kernel.layer.type or "unnamed" for kernel in kernels).items())),
        gemms_by_type=dict(gemms),
        attention_gemms_by_type=dict(loose),
        convolutions_by_type=dict(Counter(kernel.type for kernel in launched if kernel.kind == "convolution")),
        reformats=kinds["reformat"],
        casts=kinds["cast"],
        shapes=kinds["shape"],
        tf32_gemms=tf32,
        unfused=unfused,
        attentions_by_type=dict(Counter(kernel.type for kernel in attentions)),
    )


def _kind(layer: EngineLayer) -> str:
    if layer.type in _SHAPES or layer.type in _NOTHING:
        return "shape" if layer.type in _SHAPES else "nothing"
    # A name with a slash is that of the graph's node, whatever its module is called.
    fused = "/" not in layer.name and _ATTENTION.match(layer.name)
    if fused or _ATTENTION.match(layer.tactic) or layer.type.lower() == "attention":
        return "attention"
    if layer.type == "Myelin" or "ForeignNode" in layer.name or not layer.type:
        return "opaque"
    if _CONVOLUTION.search(layer.type):
        # TensorRT 8 computes some linears as 1x1 convolutions.
        linear = any(map(_PRODUCT_NODE.search, layer.onnx)) and not any(map(_CONV_NODE.search, layer.onnx))
        return "product" if linear else "convolution"
    if _PRODUCT.search(layer.type):
        return "product"
    if layer.type in _MOVERS:
        return _moved(layer)
    steps = _steps(layer.name)
    if steps and steps <= _MOVES | {"Cast"}:
        return _moved(layer)
    if steps and steps <= _MOVES | _QUANTIZES and any(_narrow(tensor.type) for tensor in layer.outputs):
        return "cast"
    return "other"


def _steps(name: str) -> set[str]:
    """What a generated kernel does, from its name."""
    found = _GENERATED.match(name)
    return set(re.findall(r"[A-Z][a-z]*", found[1])) if found else set()


def _moved(layer: EngineLayer) -> str:
    """Whether data changed type on its way."""
    read = {tensor.type for tensor in layer.inputs} - {"other"}
    written = {tensor.type for tensor in layer.outputs} - {"other"}
    return "reformat" if not read or not written or read == written else "cast"


def _product_nodes(layer: EngineLayer) -> tuple[str, ...]:
    return tuple(name for name in layer.onnx if _PRODUCT_NODE.search(name))


def _module(name: str) -> str:
    return name.rsplit("/", 1)[0]


def _narrow(kind: str) -> bool:
    return _WIDTH.get(kind) == 1


def _type_read(layer: EngineLayer) -> str:
    """The type that a layer computes in, by what it reads.

    The narrowest input counts, since an epilogue may read a wider residual. The largest constant, the weights, may be
    wider: then codes are dequantized on the way into a product of floats. Scalars (alpha and beta) say nothing.
    """
    narrowest = _narrowest(layer.inputs)
    weights = [tensor for tensor in layer.constants if tensor.size > 1 and tensor.type in _WIDTH]
    if not weights:
        return narrowest or "unknown"
    largest = max(weights, key=lambda tensor: tensor.size).type
    if narrowest is None:
        return largest
    return narrowest if _WIDTH[narrowest] >= _WIDTH[largest] else largest


def _narrowest(tensors: Iterable[LayerTensor]) -> str | None:
    kinds = [tensor.type for tensor in tensors if tensor.type in _WIDTH]
    return min(kinds, key=lambda kind: _WIDTH[kind]) if kinds else None
