"""Speed, memory and accuracy of the solver beside what else could be used: ``python -m bench.solver [--quick]``.

Every time is measured in this run on this machine unless its row says "quoted". CPU time is that of the process, the
best of several calls; libraries are held to one thread where a row does not say otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit
from skimage.restoration import denoise_tv_chambolle

from bench import accuracy
from dicomnode.compare.tables import Table
from solver import fit_t2star, phantom, published
from solver.phantom import PAPER_ECHO_TIMES_MS, Abdomen, Receiver
from solver.total_variation import prox
from solver.voxelwise import variable_projection

Array = NDArray[Any]
T = TypeVar("T")
Peer = Callable[[Array, float, int], Array]  # image, weight, iterations

SIGMA = 5.0
LAMBDA_S0, LAMBDA_R = 10.0, 1e4  # weights of the paper's objective, r in 1/ms
CPUFIT_MS = 52.0
GAP = 1e-4
NOT_INSTALLED = "not installed"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call: CPU of the whole process, and wall clock."""

    cpu: float
    wall: float


def measure(call: Callable[[], T], repeats: int = 3) -> tuple[Timing, T]:
    """Return the least of several calls' times, and the last call's result."""
    times = []
    for _ in range(repeats):
        begin = time.process_time(), time.perf_counter()
        result = call()
        times.append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    return Timing(min(cpu for cpu, _ in times), min(wall for _, wall in times)), result


def slice_of_liver(
    slices: int = 1, shape: tuple[int, int] = (192, 256), echoes: int = 8, *, air: bool = True
) -> tuple[Array, Array]:
    """Return float32 magnitudes (slices, K, L, M) with Rician noise, S0/σ of 60, and their echo times in ms."""
    times = np.array(PAPER_ECHO_TIMES_MS) if echoes == 8 else np.linspace(1.1, 13.2, echoes)
    rng = np.random.default_rng(3)
    one = phantom.abdomen(Abdomen(shape=shape, lesion_diameter_mm=8.0, air=air), rng)
    images = np.empty((slices, *shape, times.size), np.float32)
    for image in images:  # filled in place, because the peak of memory is measured on top of this
        image[...] = phantom.acquire(one, times.tolist(), Receiver(SIGMA), rng)[0]
    return images, times


def voxelwise(quick: bool) -> Table:
    """Compare fits that treat every voxel for itself."""
    images, t = slice_of_liver()
    voxels = np.ascontiguousarray(images[0].reshape(-1, t.size))
    sample = np.random.default_rng(4).choice(len(voxels), 100 if quick else 1000, replace=False)
    scipy_time, scipy_rates = measure(lambda: _curve_fit(voxels[sample], t), 1)
    scipy_ms = 1000 * scipy_time.cpu * len(voxels) / len(sample)
    echo_major = np.ascontiguousarray(voxels.T)
    scaled = (t / t[-1]).astype(np.float32)
    kernel, found = measure(lambda: variable_projection(echo_major, scaled, 1e-4, 60.0), 20)
    rates = found[1][sample] / t[-1]
    door, _ = measure(lambda: fit_t2star(images, t, method="nls", sigma=SIGMA, threads=1), 5)
    linear, _ = measure(lambda: _log_linear(voxels, t), 5)
    marquardt, _ = measure(lambda: published.fit_levenberg_marquardt(images, t, maximum_iterations=300), 1)
    agree = np.isfinite(scipy_rates) & (scipy_rates > 0.005) & (scipy_rates < 1.0)
    difference = float(np.median(np.abs(rates[agree] / scipy_rates[agree] - 1)))
    rows = [
        _voxel_row("scipy curve_fit", scipy_ms, 1000 * kernel.cpu, f"extrapolated from {len(sample)} voxels"),
        _voxel_row("eqs 15–16 of the paper, numpy", 1000 * marquardt.cpu, 1000 * kernel.cpu, "at most 300 iterations"),
        _voxel_row("Cpufit, C", CPUFIT_MS, 1000 * kernel.cpu, "quoted, another machine: not on PyPI"),
        _voxel_row("log-linear, numpy", 1000 * linear.cpu, 1000 * kernel.cpu, "not least squares of the signal"),
        _voxel_row("exact variable projection", 1000 * kernel.cpu, 1000 * kernel.cpu, "the kernel"),
        _voxel_row('fit_t2star(method="nls")', 1000 * door.cpu, 1000 * kernel.cpu, "the kernel, checks and deviations"),
    ]
    notes = [f"Median relative difference of R2* from curve_fit where that has 1 < T2* < 200 ms: {difference:.1e}."]
    return Table("Voxelwise fit of one 192×256×8 slice", ["method", "CPU ms", "× the kernel", "remark"], rows, notes)


def _voxel_row(name: str, ms: float, unit_ms: float, remark: str) -> list[str]:
    return [name, f"{ms:,.1f}", f"{ms / unit_ms:,.0f}", remark]


def _curve_fit(voxels: Array, t: Array) -> Array:
    """R2* in 1/ms of each voxel; NaN where scipy gives up."""
    rates = np.full(len(voxels), np.nan)
    for k, s in enumerate(voxels.astype(np.float64)):
        try:
            rates[k] = curve_fit(lambda x, a, r: a * np.exp(-r * x), t, s, p0=(s[0], 0.1))[0][1]
        except RuntimeError:
            continue
    return rates


def _log_linear(voxels: Array, t: Array) -> Array:
    rates: Array = -np.polyfit(t, np.log(np.maximum(voxels, 1e-3)).T, 1)[0]
    return rates


@dataclass(frozen=True, slots=True)
class ProxTask:
    """Maps to smooth and the least of the summed objective, known to more digits than are asked for."""

    maps: Array
    weight: float
    best: float

    def gap(self, found: Iterable[Array]) -> float:
        """Relative distance of the objective from the least."""
        return sum(_rof(x, u, self.weight) for x, u in zip(found, self.maps, strict=True)) / self.best - 1


def total_variation(quick: bool) -> Table:
    """Time to a relative gap of the prox of TV for the two maps of a slice."""
    truth = phantom.abdomen(Abdomen(), np.random.default_rng(5))
    rng = np.random.default_rng(6)
    maps = np.stack([truth.s0[0] / 20, truth.r2star_per_s[0] / 10]) + rng.standard_normal((2, 192, 256))
    weight = 1.0
    best = sum(_rof(_accelerated(u, weight, 1e-9), u, weight) for u in maps)
    task = ProxTask(maps, weight, best)
    single = maps.astype(np.float32)
    ours, found = measure(lambda: [_accelerated(u, weight, GAP) for u in single], 5)
    rows = [["solver.total_variation, numba", f"{1000 * ours.cpu:.1f}", "1", f"{task.gap(found):.1e}"]]
    rows += [_peer_row(name, peer, task, ours.cpu, quick) for name, peer in _peers().items()]
    notes = ["Both maps, 192×256 each, unit noise, weight 1; a peer's iterations are the fewest that reach the gap."]
    return Table(f"Prox of TV to a relative gap of {GAP:g}", ["library", "CPU ms", "×", "gap reached"], rows, notes)


def _accelerated(image: Array, weight: float, relative_gap: float) -> Array:
    return prox(image, weight, relative_gap=relative_gap).x


def _rof(x: Array, u: Array, weight: float) -> float:
    """½‖x − u‖² + weight TV(x)."""
    down, right = np.diff(x, axis=0, append=x[-1:]), np.diff(x, axis=1, append=x[:, -1:])
    return float(0.5 * np.sum((x - u) ** 2) + weight * np.sum(np.hypot(down, right)))


def _peers() -> dict[str, Peer | None]:
    return {
        f"scikit-image {metadata.version('scikit-image')}": _skimage,
        _named("pyunlocbox"): _pyunlocbox if _installed("pyunlocbox") else None,
        _named("pyproximal"): _pyproximal if _installed("pyproximal") else None,
    }


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _named(package: str) -> str:
    return f"{package} {metadata.version(package)}" if _installed(package) else package


def _skimage(image: Array, weight: float, iterations: int) -> Array:
    denoise: Callable[..., Array] = denoise_tv_chambolle
    return denoise(image, weight=weight, eps=-1.0, max_num_iter=iterations)  # eps < 0: its own stopping rule is off


def _pyunlocbox(image: Array, weight: float, iterations: int) -> Array:
    functions = importlib.import_module("pyunlocbox.functions")
    return np.asarray(functions.norm_tv(maxit=iterations, tol=0.0, verbosity="NONE").prox(image, weight))


def _pyproximal(image: Array, weight: float, iterations: int) -> Array:
    operator = importlib.import_module("pyproximal").TV(dims=image.shape, niter=iterations, rtol=0.0)
    return np.asarray(operator.prox(image.ravel(), weight)).reshape(image.shape)


def _peer_row(name: str, peer: Peer | None, task: ProxTask, ours: float, quick: bool) -> list[str]:
    if peer is None:
        return [name, NOT_INSTALLED, "", ""]
    for iterations in (25, 35, 50, 70, 100, 140, 200, 400, 800, 1600)[: 5 if quick else None]:
        begin = time.process_time()
        found = [peer(u, task.weight, iterations) for u in task.maps]
        cpu = time.process_time() - begin
        gap = task.gap(found)
        if gap <= GAP:
            break
    late = "" if gap <= GAP else ", not reached"
    return [name, f"{1000 * cpu:.0f}", f"{cpu / ours:.0f}", f"{gap:.1e} ({iterations} iterations{late})"]


def papers_objective(quick: bool) -> Table:
    """Eq. 2 with λ 10 and 1e4: Algorithm 1 as published and the solver's own iteration."""
    rows = []
    for air in (False,) if quick else (False, True):
        images, t = slice_of_liver(air=air)
        where = "body with air" if air else "body fills the image"
        # A σ far too small asks for more digits than the noise is worth.
        least = _regularised(images.astype(np.float64), t, SIGMA / 30, 1)[1]
        for sigma in (3 * SIGMA, 2 * SIGMA, 1.4 * SIGMA, SIGMA, SIGMA / 3, SIGMA / 30):
            seconds, reached = _regularised(images, t, sigma, 3)
            gap = reached / least - 1
            rows.append([where, f"solver, float32, σ {sigma:.2g}", f"{1000 * seconds:,.0f}", "1", f"{gap:.1e}"])
            if gap <= GAP:
                break
        for mu in (1.0, 10.0):
            cpu, objective, n = _literal(images, t, mu, 3 if quick else 80)
            name = f"Algorithm 1, μ {mu:g}, {n} iterations"
            rows.append([where, name, f"{1000 * cpu:,.0f}", f"{cpu / seconds:.0f}", f"{objective / least - 1:.1e}"])
    notes = [
        "Gap: objective over the least that is known (the solver in double precision), minus 1; the true σ is 5, a "
        "larger one asks for fewer digits, and the ratio is to the first run that reaches 1e-4. "
        "Algorithm 1 with the paper's η = 1e−8; neither μ nor the iterations are printed. Its best objective counts."
    ]
    columns = ["image", "method", "CPU ms", "×", "gap"]
    return Table("The paper's objective, λ1 = 10, λ2 = 1e4, 192×256×8", columns, rows, notes)


def _regularised(signal: Array, t: Array, sigma: float, repeats: int) -> tuple[float, float]:
    """CPU seconds and eq. 2, which is the solver's objective in units of sigma²."""
    weights = (LAMBDA_S0, LAMBDA_R)
    timing, found = measure(
        lambda: fit_t2star(signal, t, noise="gaussian", sigma=sigma, weights=weights, threads=1), repeats
    )
    return timing.cpu, found.objective[-1] * sigma**2


def _literal(images: Array, t: Array, mu: float, iterations: int) -> tuple[float, float, int]:
    timing, found = measure(
        lambda: published.fit_admm(
            images, t, lambda1=LAMBDA_S0, lambda2=LAMBDA_R, mu=mu, maximum_iterations=iterations
        ),
        1,
    )
    return timing.cpu, min(found.objective), found.iterations


def default_method(quick: bool) -> Table:
    """Rician likelihood and TV with automatic σ and weights: one slice, then a whole liver on one and two threads."""
    images, t = slice_of_liver()
    one, _ = measure(lambda: fit_t2star(images, t, threads=1), 3)
    slices = 4 if quick else 40
    volume, times = slice_of_liver(slices, (320, 320), 12)
    single, _ = measure(lambda: fit_t2star(volume[:1], times, threads=1), 1 if quick else 3)
    serial, _ = measure(lambda: fit_t2star(volume, times, threads=1), 1)
    both, _ = measure(lambda: fit_t2star(volume, times, threads=2), 1)
    rows = [
        ["1 slice 192×256×8, 1 thread", *_cells(one), ""],
        ["1 slice 320×320×12, 1 thread", *_cells(single), ""],
        [
            f"{slices} slices 320×320×12, 1 thread",
            *_cells(serial),
            f"{serial.wall / single.wall / slices:.2f} × a slice",
        ],
        [f"{slices} slices 320×320×12, 2 threads", *_cells(both), f"{serial.wall / both.wall:.2f} × as fast"],
    ]
    return Table("Default method", ["data", "CPU ms", "wall ms", "scaling"], rows)


def _cells(timing: Timing) -> list[str]:
    return [f"{1000 * timing.cpu:,.0f}", f"{1000 * timing.wall:,.0f}"]


def peak_memory(slices: int) -> float:
    """Peak of resident memory of one fit above what was there before it, in copies of the input; this process only."""
    small, t = slice_of_liver(1, (32, 32), 12)
    fit_t2star(small, t)
    volume, times = slice_of_liver(slices, (320, 320), 12)
    before = _peak_bytes()
    fit_t2star(volume, times, threads=2)
    return (_peak_bytes() - before) / volume.nbytes


def _peak_bytes() -> int:
    """Peak resident set of this program; getrusage would give its parent's where that was larger."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


COLD_START = """
import time
begin = time.perf_counter()
import numpy as np
from solver import fit_t2star
fit_t2star(np.ones((8, 8, 4), np.float32) * [8, 4, 2, 1] + np.eye(8)[..., None], [1, 2, 3, 4])
print(time.perf_counter() - begin)
"""


def process_costs(quick: bool) -> Table:
    """What only a fresh process shows: peak memory, and time to the first fit."""
    slices = 4 if quick else 40
    copies = _fresh(f"from bench.solver import peak_memory; print(peak_memory({slices}))")
    _fresh(COLD_START)
    seconds = min(_fresh(COLD_START) for _ in range(1 if quick else 3))
    rows = [
        [
            f"peak memory over the input, {slices} slices 320×320×12 float32, 2 threads",
            f"{copies:.2f} copies of the input",
        ],
        ["import and first fit in a fresh process, compiled code cached", f"{seconds:.2f} s"],
    ]
    return Table("Memory and cold start", ["what", "measured"], rows)


def _fresh(program: str) -> float:
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: S603
    return float(done.stdout.split()[-1])


def machine() -> Table:
    """Say what the figures were measured on."""
    packages = ("numpy", "numba", "scipy", "scikit-image")
    rows = [
        ["processor", _processor()],
        ["cores", str(os.cpu_count())],
        ["system", platform.platform()],
        ["Python", platform.python_version()],
        *[[name, metadata.version(name)] for name in packages],
    ]
    return Table("Machine and versions", ["what", "value"], rows)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


SECTIONS = {
    "voxelwise": voxelwise,
    "total_variation": total_variation,
    "papers_objective": papers_objective,
    "default_method": default_method,
    "process_costs": process_costs,
}


def main(arguments: list[str] | None = None) -> None:
    """Print every table and write each to build/bench."""
    parser = argparse.ArgumentParser(prog="python -m bench.solver", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer voxels, slices, cases and repetitions")
    names = [*SECTIONS, "accuracy"]
    parser.add_argument("--only", choices=names, nargs="+", default=names, help="these tables only")
    options = parser.parse_args(arguments)
    folder = Path("build/bench")
    folder.mkdir(parents=True, exist_ok=True)
    where = machine().markdown() + "\n"
    sys.stdout.write(where)
    for name in options.only:
        made = accuracy.tables(options.quick) if name == "accuracy" else [SECTIONS[name](options.quick)]
        text = "\n".join(table.markdown() for table in made) + "\n"
        sys.stdout.write(text)
        sys.stdout.flush()
        (folder / f"{name}.md").write_text(where + text, encoding="utf-8")


def _hold_to_one_thread() -> None:
    """Start again with the variables that numerical libraries read only when they are loaded."""
    if any(os.environ.get(name) != "1" for name in THREAD_VARIABLES):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        os.execv(sys.executable, [sys.executable, "-m", "bench.solver", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    _hold_to_one_thread()
    main()
