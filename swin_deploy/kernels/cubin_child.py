"""The process that compiles kernels, started by `ahead_of_time`: request.json in, a cubin and its facts each out."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from swin_deploy.kernels.triton_run import jit_kernel

__all__ = ["main"]


def main(request: Path, folder: Path) -> None:
    """Compile every job of `request`; for job n write `n.cubin` and `n.json`, or only the latter with an error."""
    os.environ.pop("TRITON_INTERPRET", None)  # before Triton is imported, which looks at it
    from triton import knobs

    # Line numbers would put this machine's paths into the cubins, and make them differ with a comment in the source.
    knobs.compilation.disable_line_info = True
    for number, job in enumerate(json.loads(request.read_text(encoding="utf-8"))["jobs"]):
        out = folder / f"{number}.cubin"
        try:
            facts = _compile(job, out)
        except Exception as error:  # the compiler's errors have no common class
            facts = {"error": f"{type(error).__name__}: {_first_lines(error)}"}
        (folder / f"{number}.json").write_text(json.dumps(facts), encoding="utf-8")


def _compile(job: dict[str, Any], out: Path) -> dict[str, Any]:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = jit_kernel(job["kernel"])
    types: dict[str, str] = job["types"]
    source = ASTSource(
        function,
        {parameter: types.get(parameter, "constexpr") for parameter in function.arg_names},
        # A tensor that is not there is a constant too: None.
        {parameter: job["constants"].get(parameter) for parameter in function.arg_names if parameter not in types},
        {
            (index,): [["tt.divisibility", 16]]
            for index, parameter in enumerate(function.arg_names)
            if types.get(parameter, "").startswith("*")
        },
    )
    target = GPUTarget("cuda", job["sm"], 32)
    kernel = triton.compile(source, target=target, options={"num_warps": job["warps"], "num_stages": job["stages"]})
    out.write_bytes(kernel.asm["cubin"])
    metadata = kernel.metadata
    parameters = [parameter for parameter in function.arg_names if parameter in types]
    # What a null pointer cannot serve, and what a plain launch cannot ask for.
    for asked in ("global_scratch_size", "profile_scratch_size", "launch_cooperative_grid"):
        if getattr(metadata, asked, 0):
            raise NotImplementedError(f"the kernel needs {asked} {getattr(metadata, asked)}")
    if metadata.num_ctas != 1:
        raise NotImplementedError(f"the kernel needs clusters of {metadata.num_ctas}")
    if metadata.num_warps != job["warps"]:  # a launch has one block size, whatever the architecture
        raise NotImplementedError(f"the compiler made blocks of {metadata.num_warps} warps of {job['warps']}")
    return {
        "entry": metadata.name,
        "parameters": parameters,
        "warps": metadata.num_warps,
        "shared": metadata.shared,
        "scratch_parameters": _declared(kernel.asm["ptx"], metadata.name) - len(parameters),
        **_resources(out, metadata.name),
    }


def _declared(ptx: str, entry: str) -> int:
    """How many parameters the function `entry` has in its PTX."""
    found = re.search(rf"\.entry\s+{re.escape(entry)}\s*\((.*?)\)", ptx, re.DOTALL)
    return 0 if found is None else found[1].count(".param")


def _resources(cubin: Path, entry: str) -> dict[str, int]:
    """Registers and bytes of stack of a thread, as NVIDIA's cuobjdump reads them from the cubin."""
    from triton import knobs

    command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(cubin)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(rf"Function {re.escape(entry)}:\s*REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", said)
    if found is None:
        raise ValueError(f"cuobjdump says nothing of {entry}: {said}")
    registers, stack, local = (int(number) for number in found.groups())
    return {"registers": registers, "stack": stack + local}


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:400]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
