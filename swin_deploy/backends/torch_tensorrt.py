"""Torch-TensorRT: convert a PyTorch module to one TensorRT engine, and execute such an engine.

What is kept is the raw engine, not the `.ep` that `torch_tensorrt.save` writes: saving an `.ep` first sets every
engine up on a GPU and pickles the settings beside it, while a Swin that became a single engine needs no PyTorch graph
around it. The raw engine can also be opened by TensorRT alone. Deserialising one runs native code: open only engines
that you built or trust.

`torch_tensorrt` asks torch.cuda for a device while it is imported, so it is imported only inside functions here, and
nowhere else.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from swin_deploy.artifact import Artifact, Format
from swin_deploy.backends.base import Outputs
from swin_deploy.device.tensorrt_versions import refused_family
from swin_deploy.errors import BadInput, EnvironmentFault, Unavailable, UsageFault
from swin_deploy.torch_versions import shaped_as_outputs

if TYPE_CHECKING:
    import torch

__all__ = [
    "Partition",
    "TorchTensorRTBackend",
    "TorchTensorRTResult",
    "TorchTensorRTSession",
    "check_batch",
    "compile_module",
    "conversion_unavailable",
    "read_partition",
]

Batch = tuple[int, int, int]

INPUT_NAME = "images"
_INSTALL = "Install it with: pip install 'swin-deploy[torch-tensorrt]'"


@dataclass(frozen=True)
class Partition:
    """How Torch-TensorRT would divide a graph between TensorRT and PyTorch.

    Attributes:
        engines: Subgraphs that become TensorRT engines.
        engine_operators: Operators within them.
        fallback_subgraphs: Stretches of the graph that stay in PyTorch.
        fallback_operators: Name and count of each operator that stays in PyTorch.
    """

    engines: int
    engine_operators: int
    fallback_subgraphs: int
    fallback_operators: Mapping[str, int]

    @property
    def complete(self) -> bool:
        """Whether TensorRT takes the whole graph."""
        return self.engines > 0 and self.fallback_subgraphs == 0


@dataclass(frozen=True)
class TorchTensorRTResult:
    """What a conversion gave.

    Attributes:
        partition: What went to TensorRT and what did not.
        engine: The serialized engine; `None` when part of the graph stays in PyTorch, which no engine can hold.
        batch: Smallest, usual and largest batch of the engine's only profile.
        messages: Distinct errors and warnings that Torch-TensorRT logged on the way.
    """

    partition: Partition
    engine: bytes | None
    batch: Batch
    messages: tuple[str, ...]


def check_batch(batch: Batch) -> None:
    """Refuse anything but 1 <= smallest <= usual <= largest.

    Raises:
        UsageFault: the three numbers make no profile.
    """
    smallest, usual, largest = batch
    if not 1 <= smallest <= usual <= largest:
        raise UsageFault(
            f"the batch profile is {smallest},{usual},{largest}",
            needed="smallest, usual and largest batch in ascending order, from 1 up",
            do="Give for example --batch 1,8,32",
        )


def conversion_unavailable() -> str | None:
    """Why this machine cannot convert, or `None`. Imports torch, but not torch_tensorrt."""
    if missing := _missing_package():
        return missing
    import torch

    if torch.cuda.device_count() == 0:
        return "torch sees no CUDA GPU, and Torch-TensorRT can neither be imported nor convert without one"
    return _refused_architecture(torch.cuda.current_device())


def compile_module(
    module: torch.nn.Module,
    example: torch.Tensor,
    *,
    outputs: tuple[str, ...] = ("logits",),
    batch: Batch = (1, 8, 32),
    attn_bias_is_causal: bool = False,
    require_full: bool = True,
    disable_tf32: bool = True,
) -> TorchTensorRTResult:
    """Export `module` with a dynamic batch and convert it to one TensorRT engine.

    The engine's types are those of the graph (there is no precision flag): an FP16 engine needs an FP16 module. Its
    bindings are named `images` and `outputs`.

    Args:
        module: In evaluation mode and on the CPU; takes one tensor [B, ...] and returns one [B, ...] or several.
        example: An input of any batch, [b, 3, H, W]; gives shape and type.
        outputs: Names of what it returns, in order.
        batch: Smallest, usual and largest batch of the engine's profile.
        attn_bias_is_causal: Refused when true; see Raises.
        require_full: Refuse a graph of which any part stays in PyTorch. When false, such a graph gives a result
            without an engine, whose partition says what stayed.
        disable_tf32: Do FP32 products in FP32, as parity with FP32 needs.

    Raises:
        UsageFault: `attn_bias_is_causal` is true, or `batch` is no profile.
        Unavailable: torch_tensorrt is missing or finds no GPU.
        BadInput: the module gave no engine, stays partly in PyTorch, or broke the conversion.
        EnvironmentFault: memory ran out.
    """
    if attn_bias_is_causal:
        raise UsageFault(
            "attn_bias_is_causal=True was asked for",
            needed="attn_bias_is_causal=False: with True, Torch-TensorRT's lowering takes the additive bias of square "
            "efficient-attention operators for a causal mask and removes it, and with it Swin's position bias and "
            "shift mask",
            do="Leave the option out; Torch-TensorRT's own default is True, so this program always passes False",
        )
    check_batch(batch)
    torch_tensorrt = _import_torch_tensorrt()

    program, shapes = _export(module, example, batch)
    settings: dict[str, Any] = {
        "arg_inputs": [torch_tensorrt.Input(dtype=example.dtype, **shapes)],
        "min_block_size": 1,  # a lone convertible operator must not be left to PyTorch, or it counts as fallback
        "pass_through_build_failures": True,
        "attn_bias_is_causal": False,
        # TensorRT's attention layer takes four axes, Swin's attention has five (the windows are one): written out as
        # matmul, add, softmax, matmul it converts, and the builder fuses it again.
        "decompose_attention": True,
        "disable_tf32": disable_tf32,
    }
    with _listening() as messages:
        with _failures_explained(messages):
            # A dry run lowers and partitions exactly as a compilation does, and stops before the engines.
            partition = read_partition(torch_tensorrt.dynamo.compile(program, dryrun=True, **settings))
        _judge(partition, require_full)
        engine = None
        if partition.complete:
            messages.clear()  # the dry run speaks of a smallest batch of 2, which the engine's profile does not have
            with _failures_explained(messages):
                # Not dynamo.compile: that reads the smallest batch from the exported program, where torch.export
                # has made a 1 into a 2, and must execute on a GPU what it built. This takes the profile as given.
                engine = bytes(
                    torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
                        program,
                        arg_input_binding_names=(INPUT_NAME,),
                        output_binding_names=shaped_as_outputs(program, outputs),
                        require_full_compilation=True,
                        **settings,
                    )
                )
    return TorchTensorRTResult(partition, engine, batch, tuple(dict.fromkeys(messages)))


def read_partition(graph: torch.fx.GraphModule) -> Partition:
    """Count engines and what stays in PyTorch in a graph that Torch-TensorRT has partitioned.

    Its partitioner makes one submodule a stretch: `_run_on_acc_N` for TensorRT and `_run_on_gpu_N` for PyTorch. A
    graph of which it takes nothing comes back undivided, so what stands at the top level is fallback as well.
    """
    import torch

    engines = engine_operators = fallback_subgraphs = 0
    fallback: dict[str, int] = {}
    for name, child in [*graph.named_children(), ("", graph)]:
        if not isinstance(child, torch.fx.GraphModule):
            continue
        operators = _operators(child)
        if "_run_on_acc" in name:
            engines += 1
            engine_operators += len(operators)
        elif operators:
            fallback_subgraphs += 1
            for operator in operators:
                fallback[operator] = fallback.get(operator, 0) + 1
    return Partition(engines, engine_operators, fallback_subgraphs, fallback)


def _operators(graph: torch.fx.GraphModule) -> list[str]:
    """Names of the operators of one graph; picking one of several outputs is no operator."""
    import operator

    return [
        str(node.target)
        for node in graph.graph.nodes
        if node.op in ("call_function", "call_method") and node.target is not operator.getitem
    ]


def _judge(partition: Partition, require_full: bool) -> None:
    """Refuse a partition with no engine, and with `require_full` one that leaves anything to PyTorch."""
    stayed = ", ".join(f"{name} ({count})" for name, count in sorted(partition.fallback_operators.items()))
    if partition.engines == 0:
        raise BadInput(
            f"Torch-TensorRT made no engine of this model; everything would run in PyTorch: {stayed or 'no operator'}",
            needed="a model of which TensorRT takes all operators",
            do="Use the ONNX route (--target tensorrt or rtx), and report the operators",
        )
    if require_full and not partition.complete:
        raise BadInput(
            f"Torch-TensorRT leaves {partition.fallback_subgraphs} subgraph(s) of this model in PyTorch: {stayed}",
            needed="one engine with no PyTorch between its parts",
            do="Use the ONNX route (--target tensorrt or rtx), and report the operators",
        )


def _export(
    module: torch.nn.Module, example: torch.Tensor, batch: Batch
) -> tuple[torch.export.ExportedProgram, dict[str, tuple[int, ...]]]:
    """The exported program, and the keyword arguments that give `torch_tensorrt.Input` its shapes."""
    import torch

    smallest, usual, largest = batch
    dynamic = smallest < largest
    # torch.export makes a constant of an axis whose example is 1, and a dynamic axis always has room for 2.
    size = max(2, smallest) if dynamic else smallest
    sample = example[:1].expand(size, *example.shape[1:]).contiguous()  # [size, channels, H, W]
    axes = {0: torch.export.Dim("batch", min=smallest, max=largest)} if dynamic else None
    with torch.no_grad():
        program = torch.export.export(module, (sample,), dynamic_shapes=(axes,))
    rest = tuple(example.shape[1:])
    if not dynamic:
        return program, {"shape": (smallest, *rest)}
    return program, {"min_shape": (smallest, *rest), "opt_shape": (usual, *rest), "max_shape": (largest, *rest)}


@contextlib.contextmanager
def _failures_explained(messages: list[str]) -> Iterator[None]:
    """Turn what Torch-TensorRT raises into an error of ours that carries its last messages."""
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise EnvironmentFault(
            f"memory ran out during the Torch-TensorRT conversion: {error}",
            do="Close other programs, or lower the largest batch with --batch",
        ) from error
    except Exception as error:
        cause = str(error.__cause__ or "").strip() or str(error).strip() or type(error).__name__
        told = "; ".join(dict.fromkeys(messages[-3:]))
        raise BadInput(
            f"Torch-TensorRT could not convert this model: {cause.splitlines()[0]}" + (f" ({told})" if told else ""),
            do="Use the ONNX route (--target tensorrt or rtx), and report the message",
        ) from error


class _Listener(logging.Handler):
    """Keeps the first line of each warning and error."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        lines = record.getMessage().strip().splitlines()
        if lines:
            self.messages.append(lines[0])


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect what Torch-TensorRT logs, and keep it and what it prints off the terminal."""
    messages: list[str] = []
    listener = _Listener(messages)
    # The second is the logger of TensorRT's own messages; its name makes it no child of the first.
    loggers = [logging.getLogger(name) for name in ("torch_tensorrt", "torch_tensorrt [TensorRT Conversion Context]")]
    before = [logger.propagate for logger in loggers]
    for logger in loggers:
        logger.addHandler(listener)
        logger.propagate = False
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield messages
    finally:
        for logger, propagate in zip(loggers, before, strict=True):
            logger.removeHandler(listener)
            logger.propagate = propagate


def _missing_package() -> str | None:
    for package in ("torch", "torch_tensorrt"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed. {_INSTALL}"
    return None


def _refused_architecture(device: int) -> str | None:
    import torch

    try:
        metadata.version("torch-tensorrt-rtx")
    except metadata.PackageNotFoundError:
        return None  # the build for full TensorRT, which knows these GPUs
    major, minor = torch.cuda.get_device_capability(device)
    if refused_family("tensorrt_rtx", f"{major}.{minor}") is not None:
        return (
            f"GPU {device} has compute capability {major}.{minor}, on which TensorRT for RTX loads no engine; "
            "torch-tensorrt for full TensorRT is needed there instead of torch-tensorrt-rtx"
        )
    return None


def _import_torch_tensorrt() -> Any:
    """The `torch_tensorrt` module.

    Raises:
        Unavailable: it is missing, does not go with the installed torch, or finds no GPU.
    """
    if missing := _missing_package():
        raise Unavailable(missing)
    # torch_tensorrt turns Python's warnings into log records for the whole process; undone, unless it was so before.
    captured_before = warnings.showwarning.__module__ == "logging"
    with _listening():
        try:
            module = importlib.import_module("torch_tensorrt")
        except Exception as error:  # it raises bare Exception and RuntimeError, and OSError for a missing library
            told = str(error).strip() or type(error).__name__
            raise Unavailable(
                f"torch_tensorrt cannot be imported: {told.splitlines()[0]}",
                needed="an NVIDIA GPU with its driver, and the torch that this torch_tensorrt was built for",
                do="Check `nvidia-smi`; on a machine with no GPU use --target rtx, which builds engines without one",
            ) from error
        finally:
            if not captured_before:
                logging.captureWarnings(False)
    return module


@dataclass(frozen=True)
class TorchTensorRTBackend:
    """Executes the engine that `stages.torch_tensorrt` leaves, through Torch-TensorRT's runtime, on a GPU.

    Attributes:
        device: Which GPU.
    """

    device: int = 0

    @property
    def name(self) -> str:
        """As shown in reports."""
        return "torch-tensorrt"

    def unavailable(self, artifact: Artifact) -> str | None:
        """Why this machine cannot execute `artifact`, or `None` when it can."""
        if artifact.format is not Format.TORCH_TENSORRT_PLAN:
            return f"{artifact.name} is a {artifact.format.value} file, not a {Format.TORCH_TENSORRT_PLAN.value}"
        if missing := _missing_package():
            return missing
        try:
            import torch

            seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
            if self.device >= seen:
                return f"torch sees {seen or 'no'} CUDA GPU(s), and the engine is to run on GPU {self.device}"
            return _refused_architecture(self.device)
        except Exception as error:  # a driver that torch cannot talk to must not stop a report
            return f"torch could not ask for CUDA GPUs: {error}"

    def open(self, artifact: Artifact) -> TorchTensorRTSession:
        """Load the engine onto the GPU.

        Raises:
            Unavailable: this machine cannot execute it.
            BadInput: TensorRT does not accept the file.
        """
        if reason := self.unavailable(artifact):
            raise Unavailable(reason)
        torch_tensorrt = _import_torch_tensorrt()
        # With the RTX build this name is tensorrt_rtx: torch_tensorrt installs the alias, so the order matters.
        tensorrt = importlib.import_module("tensorrt")
        runtime_modules = importlib.import_module("torch_tensorrt.dynamo.runtime")
        import torch

        try:
            serialized = artifact.path.read_bytes()
        except OSError as error:
            raise BadInput(f"{artifact.path} cannot be read: {error.strerror or error}") from error
        with _listening() as messages, torch.cuda.device(self.device):
            runtime = tensorrt.Runtime(torch_tensorrt.logging.TRT_LOGGER)
            engine = runtime.deserialize_cuda_engine(serialized)
            if engine is None:
                raise BadInput(
                    f"TensorRT does not accept {artifact.path}: " + ("; ".join(messages[-3:]) or "no message"),
                    needed="an engine built for this GPU by the installed TensorRT version",
                    do="Build it again on this machine",
                )
            names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
            outputs = [name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.OUTPUT]
            inputs = [name for name in names if name not in outputs]
            lowest, _, highest = engine.get_tensor_profile_shape(inputs[0], 0)
            # The module loads the engine itself; this copy was for its names and profile.
            del engine, runtime
            module = runtime_modules.TorchTensorRTModule(
                serialized,
                inputs,
                outputs,
                name="swin",
                settings=torch_tensorrt.dynamo.CompilationSettings(
                    device=torch_tensorrt.Device(gpu_id=self.device), attn_bias_is_causal=False
                ),
            )
        return TorchTensorRTSession(module, tuple(outputs), (lowest[0], highest[0]), f"cuda:{self.device}")


class TorchTensorRTSession:
    """An opened engine.

    Args:
        execute: Takes a tensor [B, channels, H, W] on `device`, returns one tensor or a tuple of them.
        outputs: Their names, in order.
        batch: Smallest and largest batch of the engine's profile.
        device: Where the engine runs, as torch names it.
    """

    def __init__(
        self, execute: Callable[[torch.Tensor], Any], outputs: tuple[str, ...], batch: tuple[int, int], device: str
    ) -> None:
        self._execute: Callable[[torch.Tensor], Any] | None = execute
        self._outputs, self._batch, self._device = outputs, batch, device

    def infer(self, images: npt.NDArray[np.float32]) -> Outputs:
        """Run preprocessed `images` [B, channels, H, W] in FP32.

        Raises:
            UsageFault: B lies outside the engine's profile.
        """
        import torch

        assert self._execute is not None, "the session is closed"
        smallest, largest = self._batch
        if not smallest <= len(images) <= largest:
            raise UsageFault(
                f"a batch of {len(images)} images was given to an engine built for {smallest} to {largest}",
                needed=f"{smallest} to {largest} images at a time",
                do="Choose another batch, or build again with a wider --batch",
            )
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).to(self._device)
            result = self._execute(given)
            tensors = result if isinstance(result, (tuple, list)) else (result,)
            return {name: tensor.float().cpu().numpy() for name, tensor in zip(self._outputs, tensors, strict=True)}

    def close(self) -> None:
        """Let the engine go."""
        self._execute = None

    def __enter__(self) -> TorchTensorRTSession:
        """The session itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
