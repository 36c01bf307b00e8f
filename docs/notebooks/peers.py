# %% [markdown]
# # Beside other packages
# The same decays by the models of others, where those are installed: `make bench` installs qmrpy, whose models are
# qMRLab's kind in Python. ukat is shown where it can be imported; it needs an older scipy and TensorFlow, so it cannot
# live beside this package. Cpufit is no Python package: it has to be built.

# %%
import time
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from solver import fit_t2star
from solver.phantom import PAPER_ECHO_TIMES_MS, add_rician

TIMES = np.array(PAPER_ECHO_TIMES_MS)
S0, SIGMA, COUNT = 300.0, 10.0, 400
T2STAR_MS = (2.5, 5.0, 10.0, 20.0)
rng = np.random.default_rng(7)
decays = {t: add_rician(S0 * np.exp(-np.tile(TIMES, (COUNT, 1)) / t), SIGMA, rng) for t in T2STAR_MS}


# %% [markdown]
# Each takes decays (n, M) and gives T2* in ms (n,). Ours is told no noise: a list of decays tells it by its residuals.


# %%
def least_squares(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    return fit_t2star(signal, TIMES, method="nls").t2star_ms


def rician(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    return fit_t2star(signal, TIMES, n_coils=1).t2star_ms


def scipy_curve_fit(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    def model(t: NDArray[np.float64], s0: float, t2star: float) -> NDArray[np.float64]:
        return s0 * np.exp(-t / t2star)

    return np.array([curve_fit(model, TIMES, one, (one[0], 8.0), maxfev=5000)[0][1] for one in signal])


def qmrpy(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    from qmrpy.models.t2star.r2star import T2StarMonoR2  # noqa: PLC0415

    fitter = T2StarMonoR2(TIMES)
    return np.array([fitter.fit(one)["t2star_ms"] for one in signal])


def ukat(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    from ukat.mapping.t2star import T2Star  # noqa: PLC0415

    return np.asarray(T2Star(signal[:, None, :], TIMES, method="2p_exp", multithread=False).t2star_map)[:, 0]


METHODS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "ours, least squares": least_squares,
    "ours, Rician": rician,
    "scipy curve_fit": scipy_curve_fit,
    **{name: method for name, method in (("qmrpy", qmrpy), ("ukat", ukat)) if find_spec(name)},
}

# %% [markdown]
# Bias and spread of R2* in %, and the CPU time of 1,000 decays; the first call compiles and is not counted.

# %%
print(f"{'':22}" + "".join(f"{f'T2* {t:g} ms':>18}" for t in T2STAR_MS) + f"{'CPU ms / 1,000':>18}")
for name, method in METHODS.items():
    method(decays[T2STAR_MS[0]][:20])
    begun = time.process_time()
    found = {t: method(signal) for t, signal in decays.items()}
    spent = 1e6 * (time.process_time() - begun) / (COUNT * len(decays))
    errors = {t: 100 * (t / one[np.isfinite(one)] - 1) for t, one in found.items()}
    cells = (f"{np.median(one):+.1f} ± {np.std(one):.1f}" for one in errors.values())
    print(f"{name:22}" + "".join(f"{cell:>18}" for cell in cells) + f"{spent:>18.1f}")
