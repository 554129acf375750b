"""Which of a board's power rails add up to what the board draws."""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["total_rails"]

# In the order they are asked; the first whose rails are all there is the board's. Sources: NVIDIA's Jetson Linux
# Developer Guide, "Platform Power and Performance", power monitors of each series; that VDD_IN is the whole module, and
# that VDDQ_VDD2_1V8AO is part of VIN_SYS_5V0 (so it is not added again): NVIDIA's forum, threads 200883 and 217088.
_TOTALS = (
    ("VDD_IN",),  # Xavier NX, Orin NX and Nano, TX2: the module's own input
    ("POM_5V_IN",),  # the first Nano
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),  # AGX Orin
    # AGX Thor. Its VIN is the developer kit's whole input, so the three are what compares with an Orin.
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),  # AGX Xavier
    ("GPU board",),  # a desktop card, from nvidia-smi
)


def total_rails(rails: Collection[str]) -> tuple[str, ...]:
    """The rails of `rails` to add up, or none where the board is not known: a wrong sum is worse than no sum."""
    return next((names for names in _TOTALS if all(name in rails for name in names)), ())
