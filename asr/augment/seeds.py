"""Independent generators, so that one setting never changes what another one draws."""

from __future__ import annotations

import torch


def draw_generators(generator: torch.Generator, count: int) -> list[torch.Generator]:
    """Generators on the same device, each seeded by one 63-bit draw from `generator`."""
    seeds = torch.randint(2**63 - 1, (count,), generator=generator, device=generator.device)
    return [torch.Generator(generator.device).manual_seed(seed) for seed in seeds.tolist()]


def draw_uniform(generator: torch.Generator, low: float, high: float) -> float:
    """One number, uniform from `low` to `high`."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
