"""Any artifact that PyTorch opens, alike: paper form, deployment form, or a captured network of the user's."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn
from torch.export import ExportedProgram

from swin_deploy.artifact import Artifact, Format
from swin_deploy.checkpoint.spec import SwinSpec
from swin_deploy.model.capture import image_shape, open_program, program_module
from swin_deploy.model.forms import open_deployment, open_reference, spec_of
from swin_deploy.model.fused import fuse, unfusible
from swin_deploy.model.fusion_plan import FusionPlan
from swin_deploy.torch_versions import export_program, program_on

__all__ = ["FORMATS", "Network", "fused_network", "open_network", "without_fused_form"]

FORMATS = (Format.CHECKPOINT, Format.DEPLOYMENT, Format.CAPTURED)


@dataclass(frozen=True)
class Network:
    """An opened network.

    Attributes:
        module: In evaluation mode, from images [B, channels, H, W] to a tensor or a tuple of tensors.
        outputs: Their names.
        image_size: Height and width in pixels.
        channels: Of the images.
        spec: Its architecture; `None` for a captured network.
        captured: The program it was captured as, `None` for a form of ours.
    """

    module: nn.Module
    outputs: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int
    spec: SwinSpec | None
    captured: ExportedProgram | None = None

    def program(self, largest_batch: int) -> ExportedProgram:
        """The network as a traced graph with a free batch axis; a captured one has the axis it was captured with."""
        if self.captured is not None:
            return self.captured
        device = str(next(iter(self.module.state_dict().values())).device)
        return export_program(self.module, self.image_size, largest_batch, device, self.channels)


def open_network(artifact: Artifact, device: str = "cpu", *, paper: bool = False) -> Network:
    """Open an artifact of one of `FORMATS` on `device`; the paper form only where `paper` allows it.

    Raises:
        BadInput: the file is damaged or of another version.
    """
    if artifact.format is Format.CAPTURED:
        program, names = open_program(artifact.path)
        program = program_on(program, device)
        channels, height, width = image_shape(program)
        return Network(program_module(program), names, (height, width), channels, None, program)
    opener = open_reference if paper and artifact.format is Format.CHECKPOINT else open_deployment
    model = opener(artifact.path).to(device)
    spec = spec_of(model)
    return Network(model, spec.outputs, spec.image_size, spec.channels, spec)


def without_fused_form(network: Network) -> str | None:
    """Why `network` has no fused form, or `None`."""
    if network.spec is None:
        return "there is no fused form of a network of one's own"
    return unfusible(network.spec)


def fused_network(network: Network, plan: FusionPlan | None = None) -> Network:
    """A deployment form in its fused form, in the same type and on the same device.

    Raises:
        UsageFault: there is no such form.
    """
    from swin_deploy.kernels.torch_operators import TorchOperators

    dtype = next(network.module.parameters()).dtype
    return replace(network, module=fuse(network.module, plan or FusionPlan(), dtype, TorchOperators()))
