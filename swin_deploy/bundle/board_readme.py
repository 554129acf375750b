"""The README.md of a bundle, for the person at the device."""

from __future__ import annotations

from swin_deploy.bundle.targets import Target
from swin_deploy.device.bundle_file import Bundle
from swin_deploy.device.tensorrt_versions import traits_of

__all__ = ["board_readme"]

_STATUSES = """\
| status | meaning |
|---|---|
| 0 | every engine that could be executed passed its gates; what was not executed is said so |
| 2 | an option is wrong |
| 3 | TensorRT, NumPy or a GPU is missing, or `--require engine` and an engine was not executed |
| 4 | an engine failed a gate; it stands under a name ending in `.rejected` |
| 5 | a file of the bundle was changed or damaged, or is for another TensorRT |
| 6 | memory, disk or time gave out |
| 130 | interrupted; the same command goes on from there |
"""


def board_readme(bundle: Bundle, target: Target) -> str:
    """The text."""
    architecture = bundle.model["architecture"] or "a network of the user's own"
    profiles = {engine.profile for engine in bundle.engines}
    rows = [traits_of(package, version) for package, version in target.releases]
    tools = "\n".join(
        f"- {row.versions}" + (f" (JetPack {row.jetpack})" if row.jetpack else "") + f": graphs `{row.profile}`"
        for row in rows
        if row.profile in profiles
    )
    engines = "\n".join(
        f"| {engine.name} | {engine.precision.value} | {engine.profile} | `{engine.onnx}` |"
        for engine in bundle.engines
    )
    engines += "".join(
        f"\n| {program.name} | {program.precision.value} | {program.profile} | `{program.folder}/` |"
        for program in bundle.programs
    )
    image = "x".join(str(side) for side in bundle.model["image"])
    served = (
        "\n`model_repository/` is a Triton model repository: `finish` puts each plan that passed into it. "
        "`model_repository_onnx/` serves the same models through ONNX Runtime, at once.\n"
        if target.name == "triton"
        else ""
    )
    kernels = (
        "\n`kernels/` has the network in kernels that are compiled already, which need the NVIDIA driver alone: "
        "`python3 runner.py finish --backend kernels` proves and times them without TensorRT.\n"
        if bundle.programs
        else ""
    )
    batches = f"{bundle.batches[0]} to {bundle.batches[2]}"
    return f"""# {bundle.name} for {target.devices}

{architecture}. Images {image}, preprocessed as `preprocessing.json` says; batches {batches}.

```sh
python3 runner.py finish
```

checks every file, builds the engines, runs {bundle.image_source} on each of them at the smallest, usual
and largest batch, compares with the original model's answers, looks at what precision the kernels run in, times them,
and writes `finished/finish.md`, `finished/finish.json` and the engines. It needs Python 3.8 or later, NumPy and one of

{tools}

Nothing is installed or downloaded. `python3 runner.py check` compares the hashes only; `python3 runner.py bench` times
finished engines again; `python3 runner.py finish --help` shows the options.

| engine | precision | profile | graph |
|---|---|---|---|
{engines}
{served}{kernels}
{_STATUSES}
Too little memory for a build: close the desktop (`sudo systemctl isolate multi-user.target`), add swap, or lower
`--workspace` and `--memory-limit` (MiB). Clocks: `sudo nvpmodel -m 0 && sudo jetson_clocks` before timing on a Jetson.

The hashes in `bundle.json` catch damage and mix-ups. They are no signature: use only bundles of people you trust, since
an engine and the code in `lib/` run as you.
"""
