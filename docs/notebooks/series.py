# %% [markdown]
# # From DICOM files to iron
# Every step of the node, one after the other, on the files of one series. Name a folder of your own in `SERIES`;
# without one a series is made as a scanner would send it.

# %%
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dicomnode import analyse, pixels, simulate
from dicomnode.config import Settings
from dicomnode.operate import offline
from solver import fit_t2star

settings = Settings()
if "SERIES" in os.environ:
    folder = Path(os.environ["SERIES"])
else:
    folder = Path(tempfile.mkdtemp(prefix="series-"))
    plan = simulate.SeriesPlan(dialect="siemens-ve", field_strength_t=1.5, liver_t2star_ms=5.0, slices=2)
    simulate.write(simulate.make(plan, datetime.now(UTC)), folder)

# %% [markdown]
# Files to stacks: what belongs together is told by the headers, and what is no echo is left out with the reason.

# %%
candidates, others = offline.find([folder], settings.grouping, print)
for other in others:
    print(f"{other['count']} files left alone: {other['reason']}")
stacks = [stack for stack in (offline.stack_of(one, settings.grouping) for one in candidates) if stack is not None]
stack = stacks[0]
print("slices, rows, columns, echoes:", *stack.shape)
print("echo times in ms:", *stack.echo_times_ms)

# %% [markdown]
# Stacks to numbers, without DICOM from here on.

# %%
signal = pixels.load(stack)
fit = fit_t2star(signal, stack.echo_times_ms, spacing=stack.planes[0].pixel_spacing_mm)
print(f"{fit.verdict}; sigma {fit.sigma:.2f} from {fit.parameters['noise_source']}")
print(f"{fit.valid.mean():.0%} of the voxels have a rate")

# %% [markdown]
# The node's own way from here: the liver is found, or there is no number.

# %%
signal, maps = analyse.fit_stack(stack, settings.fit)
found = analyse.find_regions(stack, signal, maps)
rois, measurements, _ = analyse.measure_regions(found.rois, stack, signal, maps, settings.measure)
for one in measurements:
    rate = "no number" if one.r2star_per_s is None else f"R2* {one.r2star_per_s.median:.1f} /s"
    iron = "" if one.lic_mg_per_g is None else f", LIC {one.lic_mg_per_g:.1f} mg/g ({one.calibration})"
    print(f"{one.name}: {rate}{iron}")

# %%
middle = len(signal) // 2
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
left.imshow(signal[middle, ..., 0], cmap="gray")
left.set_title("first echo")
picture = right.imshow(np.where(fit.valid[middle], fit.r2star_per_s[middle], np.nan), vmin=0, vmax=400)
right.set_title("R2* in 1/s")
figure.colorbar(picture, ax=right)
plt.show()
