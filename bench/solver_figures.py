"""Figures and the accuracy table of docs/solver.md: ``python -m bench.solver_figures``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")

from matplotlib import pyplot as plt

from solver import fit_t2star
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen, Phantom, Receiver, abdomen, acquire
from solver.uncertainty import cramer_rao

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIGURES = Path(__file__).parent.parent / "docs" / "figures"
TIMES = np.array(PAPER_ECHO_TIMES_MS)
S0 = 300.0
FITS: dict[str, dict[str, Any]] = {
    "least squares": {"method": "nls", "noise": "gaussian"},
    "Rician, voxel by voxel": {"method": "nls", "noise": "rician"},
    "default": {},
}
CASES = ((2.2, 32.0), (2.2, 100.0), (4.0, 30.0), (4.0, 100.0), (10.0, 30.0), (10.0, 100.0), (20.0, 30.0))


def example(t2star_ms: float, snr: float, seed: int = 0) -> tuple[Phantom, NDArray[np.float32]]:
    """Draw an abdomen with texture, vessels and a lesion of 7 mm, and its image with Rician noise."""
    rng = np.random.default_rng(seed)
    truth = abdomen(Abdomen(shape=(144, 192), liver_t2star_ms=t2star_ms, lesion_diameter_mm=7.0), rng)
    return truth, acquire(truth, PAPER_ECHO_TIMES_MS, Receiver(S0 / snr), rng).astype(np.float32)


def row(truth: Phantom, image: NDArray[np.float32], snr: float, options: dict[str, Any]) -> tuple[float, float, float]:
    """Bias of R2* in parenchyma in %, RMSE over the Cramér-Rao bound, share of 95 % intervals that hold the truth."""
    fit = fit_t2star(image, TIMES, **options)
    liver = truth.regions["liver"]
    use = liver & fit.valid
    error = (fit.r2star_per_s - truth.r2star_per_s)[use]
    bound = cramer_rao(truth.s0[liver] * snr / S0, truth.r2star_per_s[liver], TIMES / 1000, 1)[1]
    inside = np.abs(error) < 1.96 * fit.r2star_sd_per_s[use]
    rmse = np.sqrt(np.mean(error**2) / np.mean(bound**2))
    return float(100 * error.mean() / truth.r2star_per_s[liver].mean()), float(rmse), float(inside.mean())


def table() -> str:
    """Compare the fits case by case, as Markdown."""
    lines = ["| T2*, S0/σ | " + " | ".join(FITS) + " |", "|---|" + "---|" * len(FITS)]
    for t2star_ms, snr in CASES:
        truth, image = example(t2star_ms, snr)
        cells = ["{:+.1f} %, {:.2f}, {:.0%}".format(*row(truth, image, snr, options)) for options in FITS.values()]
        lines.append(f"| {t2star_ms:g} ms, {snr:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def maps(path: Path) -> None:
    """Show truth, least squares, the default and its standard deviation of one case."""
    truth, image = example(4.0, 30.0)
    plain, default = (fit_t2star(image, TIMES, **FITS[name]) for name in ("least squares", "default"))
    panels = (
        ("truth", truth.r2star_per_s[0], 450),
        ("least squares", plain.r2star_per_s[0], 450),
        ("default", default.r2star_per_s[0], 450),
        ("its standard deviation", default.r2star_sd_per_s[0], 45),
    )
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.6), layout="constrained")
    for axis, (title, values, top) in zip(axes, panels, strict=True):
        shown = axis.imshow(values, vmin=0, vmax=top, cmap="inferno")
        axis.set_title(f"{title} (1/s)", fontsize=9)
        axis.axis("off")
        figure.colorbar(shown, ax=axis, fraction=0.04)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def bias(path: Path) -> None:
    """Draw the bias of each fit against T2*."""
    t2star_ms = np.array([1.6, 1.9, 2.2, 3.0, 4.0, 6.0, 10.0, 16.0, 25.0])
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for name, options in FITS.items():
        found = [row(*example(float(t), 50.0), 50.0, options)[0] for t in t2star_ms]
        axis.plot(t2star_ms, found, marker="o", markersize=3, label=name)
    axis.axhspan(-3, 3, color="0.9")
    axis.set(xscale="log", xlabel="true T2* (ms)", ylabel="bias of R2* (%)", title="S0/σ = 50, first echo 2.58 ms")
    axis.set_xticks([], minor=True)
    axis.set_xticks([2, 3, 5, 10, 20], ["2", "3", "5", "10", "20"])
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main() -> None:
    """Write the figures, print the table."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    maps(FIGURES / "solver-maps.png")
    bias(FIGURES / "solver-bias.png")
    sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()
