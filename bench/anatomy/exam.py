"""One digital exam from a seed: slices of a body through a scanner, with the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy import abdomen, ct, others, physics, views
from bench.anatomy.tissues import LABEL
from dicomnode.model import Plane

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from bench.anatomy.geometry import Points

    Array = NDArray[Any]
    Labels = NDArray[np.uint8]

# Seeds of one family never meet those of another: what was trained on cannot be what is measured on.
FAMILIES = {"training": 1, "calibration": 2, "check": 3, "study": 4}
# What is in the scanner, and how often by default; "ct" only on request.
SCENES = {
    "abdomen": 0.78,
    "drawn": 0.05,
    "thorax": 0.02,
    "head": 0.04,
    "limbs": 0.04,
    "pelvis": 0.03,
    "vials": 0.02,
    "bottle": 0.02,
}
WITH_LIVER = ("abdomen", "drawn", "ct")
FAULTY = 0.05  # share of exams whose header lies, by default
NOT_TOLD = ("s0", "r2star_per_s", "fat", "coils", "seed")  # of the physics: long, or about nothing
STORED_OTHERWISE = 0.15  # share of exams stored in flipped or transposed rows that the header tells of
BRIGHTEST = 98  # percentile of the first echo that is scaled to the counts
CLIPPED_AT = 0.75  # of those counts, where a receiver is overdriven


@dataclass(frozen=True, slots=True)
class Exam:
    """A series and its truth; arrays are (slices, K, L) and more.

    ``signal`` (slices, K, L, M) is uint16, or float32 where the scanner keeps fractions. ``spacing_mm`` is between
    rows, columns, slices; ``orientation`` and ``positions_mm`` are what the header says. ``r2star_per_s`` is that of
    water without air's and metal's influence; ``liver`` is parenchyma, ``whole`` adds vessels and lesions.
    ``sigma`` is the noise of each coil's real part in signal units where parallel imaging adds none.
    """

    signal: Array
    echo_times_ms: tuple[float, ...]
    spacing_mm: tuple[float, float, float]
    orientation: tuple[float, float, float, float, float, float]
    positions_mm: tuple[tuple[float, float, float], ...]
    field_t: float
    labels: Labels
    r2star_per_s: NDArray[np.float32]
    liver: NDArray[np.bool_]
    whole: NDArray[np.bool_]
    sigma: float
    n_coils: int
    noise_map: NDArray[np.float32]
    meta: dict[str, Any]

    def planes(self) -> tuple[Plane, ...]:
        """The planes as the header tells them."""
        rows, columns = self.signal.shape[1:3]
        spacing = self.spacing_mm[:2]
        return tuple(Plane(rows, columns, p, self.orientation, spacing, "1.2.3") for p in self.positions_mm)


@dataclass(frozen=True, slots=True)
class _Scene:
    """A body that can be cut, with its size in mm."""

    labels: Callable[[Points], Labels]
    half_width: float
    half_depth: float
    scale: float
    words: dict[str, str]
    middle: tuple[float, float, float] | None = None


def exam(seed: int, family: str = "study", **fixed: Any) -> Exam:
    """Draw exam ``seed`` of a family; the same arguments always give the same arrays.

    ``fixed`` settles what would be drawn: scene, fault, stored ("as drawn"), plane, slices, pixel_mm, middle (mm) or
    heights_mm (the range of an axial stack's middle),
    over (samples per pixel side), volume (a ``ct.Ct``, for scene "ct"), habitus, liver_shape, spleen, arms, ascites,
    implants, any field of ``Physics`` (field_t, t2star_ms, train, echo_times_ms, snr, n_coils, ...).
    """
    rng = np.random.default_rng([FAMILIES[family], seed])
    name = str(rng.choice(list(SCENES), p=list(SCENES.values())))
    faulty, fault = rng.uniform() < FAULTY, str(rng.choice(views.FAULTS[1:]))
    name = str(fixed.get("scene", name))
    fixed.setdefault("fault", fault if faulty and name in ("abdomen", "ct") else "none")
    scene = _scene(rng, name, fixed)
    if scene.middle is not None:
        fixed.setdefault("middle", scene.middle)
    view = views.draw(rng, scene.half_width, scene.half_depth, scene.scale, **fixed)
    how = physics.draw(rng, **fixed)
    if name == "drawn":  # such simulators know no shim, no air and no chemical shift
        how = replace(how, susceptibility=0.0, fat=tuple(0.0 for _ in how.fat), shading=how.shading * 0.4)
    meta = {"scene": name, "seed": seed, "family": family, **scene.words, "plane": view.plane, "fault": view.fault}
    meta |= {key: value for key, value in asdict(how).items() if key not in NOT_TOLD}
    meta["liver_fat"] = how.fat[LABEL["liver"]]
    made = _made(scene, view, how, int(fixed.get("over", 2)), meta)
    return _stored(_faulty(made, view.fault, rng), rng, fixed.get("stored"))


def _scene(rng: np.random.Generator, name: str, fixed: dict[str, Any]) -> _Scene:
    if name == "ct":
        warp = ct.draw(rng, fixed["volume"])
        wide, deep = fixed["volume"].half_body_mm
        within = (0.0, 0.0, float(rng.uniform(-25, 25)))
        return _Scene(lambda p: ct.labels_of(warp, p), wide, deep, 1.0, {}, within)
    if name in ("abdomen", "thorax"):
        body = abdomen.draw(rng, **fixed)
        a, b, s = body.body.half_width, body.body.half_depth, body.body.scale
        above = body.dome.height + body.dome.right[-1] * 0.5 + rng.uniform(25, 110) * s
        if name == "thorax":
            fixed.update(plane="axial", slices=int(rng.integers(1, 3)))
        middle = (0.0, 0.0, float(above)) if name == "thorax" else None
        return _Scene(lambda p: abdomen.labels_at(body, p), a, b, s, body.words, middle)
    stack = others.drawn(rng) if name == "drawn" else others.NOT_A_LIVER[name](rng)
    if name == "drawn":
        fixed.setdefault("plane", "axial")
    size = _extent(stack)
    return _Scene(lambda p: others.labels_of(stack, p), *size, 0.6, {}, _within(rng, name))


def _within(rng: np.random.Generator, name: str) -> tuple[float, float, float]:
    reach = {"head": 60.0, "pelvis": 60.0}.get(name, 30.0)
    return 0.0, 0.0, float(rng.uniform(-reach, reach))


def _extent(stack: others.Stack) -> tuple[float, float]:
    solids = [layer.solid for layer in stack.layers if layer.first]
    width = max(abs(s.centre[0]) + s.radii[0] for s in solids)
    depth = max(abs(s.centre[1]) + s.radii[1] for s in solids)
    return float(width), float(depth)


def _made(scene: _Scene, view: views.View, how: physics.Physics, over: int, meta: dict[str, Any]) -> Exam:
    rng = np.random.default_rng(how.seed)
    texture = physics.Texture(rng)
    fields = {name: texture.draw() for name in physics.FIELDS_OF_TEXTURE}
    pieces = []
    for index in range(view.slices):
        points = view.points(index, over)
        body = physics.Sampled(scene.labels(points), points, view.pixel_mm, over)
        pieces.append(physics.measure(body, how, fields))
    sigma = physics.noise_level(pieces, how)
    images = [physics.received(piece, sigma, how, rng) for piece in pieces]
    signal, scale = _digitised(np.stack([image for image, _ in images]), how)
    return Exam(
        signal=signal,
        echo_times_ms=how.echo_times_ms,
        spacing_mm=(view.pixel_mm, view.pixel_mm, abs(view.step_mm)),
        orientation=(*view.row, *view.column),  # type: ignore[arg-type]
        positions_mm=_positions(view, rng),
        field_t=how.field_t,
        labels=np.stack([piece.labels for piece in pieces]),
        r2star_per_s=np.stack([piece.r2star_per_s for piece in pieces]).astype(np.float32),
        liver=np.stack([piece.parenchyma > 0.5 for piece in pieces]),
        whole=np.stack([piece.whole > 0.5 for piece in pieces]),
        sigma=sigma * scale,
        n_coils=how.n_coils,
        noise_map=np.stack([spread for _, spread in images]),
        meta=meta,
    )


def _digitised(magnitude: Array, how: physics.Physics) -> tuple[Array, float]:
    """Scale to counts and round, as scanners store; or keep fractions."""
    brightest = max(float(np.percentile(magnitude[..., 0], BRIGHTEST)), 1e-9)
    scale = (how.counts or 300.0) / brightest
    values = magnitude * np.float32(scale)
    if how.clipped:
        values = np.minimum(values, np.float32(CLIPPED_AT * (how.counts or 300.0)))
    if how.counts is None:
        return values, scale
    return np.minimum(np.rint(values), 65535).astype(np.uint16), scale


def _positions(view: views.View, rng: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    """Centre of the first pixel of each slice, in a scanner whose origin is near the patient's middle."""
    lying = rng.uniform(-20, 20, 3)
    rows, columns = view.matrix
    corner = np.array(view.row) * (columns - 1) / 2 + np.array(view.column) * (rows - 1) / 2
    first = np.array(view.centre) - corner * view.pixel_mm + lying
    steps = [first + np.array(view.normal) * view.step_mm * k for k in range(view.slices)]
    return tuple((float(p[0]), float(p[1]), float(p[2])) for p in steps)


def _images(made: Exam, change: Callable[[Array], Array], **more: Any) -> Exam:
    """Apply one change of rows and columns to every image and its truth."""
    names = ("signal", "labels", "r2star_per_s", "liver", "whole", "noise_map")
    changed: dict[str, Any] = {name: np.ascontiguousarray(change(getattr(made, name))) for name in names}
    return replace(made, **changed, **more)


def _faulty(made: Exam, fault: str, rng: np.random.Generator) -> Exam:
    """Do something to the images, or to the header, that the other does not know of."""
    if fault == "mirrored":
        return _images(made, lambda v: v[:, :, ::-1])
    if fault == "upside down":
        return _images(made, lambda v: v[:, ::-1])
    if fault == "turned":
        quarter = int(rng.choice([1, 2, 3]))
        row, column, _ = made.spacing_mm
        spacing = (row, column, made.spacing_mm[2])
        return _images(made, lambda v: np.rot90(v, quarter, (1, 2)), spacing_mm=spacing)
    if fault == "wrong plane":
        return replace(made, orientation=_another_plane(made, rng))
    return made


def _another_plane(made: Exam, rng: np.random.Generator) -> tuple[float, float, float, float, float, float]:
    def away(name: str) -> float:
        row, column = views.DIRECTIONS[name]
        return abs(float(np.cross(row, column) @ np.cross(made.orientation[:3], made.orientation[3:])))

    others_ = [name for name in views.DIRECTIONS if away(name) < 0.5]
    row, column = views.DIRECTIONS[str(rng.choice(others_))]
    return (*row, *column)


def _stored(made: Exam, rng: np.random.Generator, wanted: str | None) -> Exam:
    """Store rows or columns the other way round, or swapped, and say so in the header."""
    other = rng.uniform() < STORED_OTHERWISE
    kind = str(rng.choice(["rows", "columns", "swapped"]))
    if not other or wanted == "as drawn":
        return made
    row, column = np.array(made.orientation[:3]), np.array(made.orientation[3:])
    rows, columns = made.signal.shape[1:3]
    dr, dc, ds = made.spacing_mm
    if kind == "swapped":
        orientation = _six(column, row)
        return _images(made, lambda v: np.swapaxes(v, 1, 2), orientation=orientation, spacing_mm=(dc, dr, ds))
    if kind == "rows":
        moved = column * dr * (rows - 1)
        return _images(made, lambda v: v[:, ::-1], orientation=_six(row, -column), positions_mm=_moved(made, moved))
    moved = row * dc * (columns - 1)
    return _images(made, lambda v: v[:, :, ::-1], orientation=_six(-row, column), positions_mm=_moved(made, moved))


def _six(row: Array, column: Array) -> tuple[float, float, float, float, float, float]:
    r, c = [float(v) for v in row], [float(v) for v in column]
    return r[0], r[1], r[2], c[0], c[1], c[2]


def _moved(made: Exam, by: Array) -> tuple[tuple[float, float, float], ...]:
    places = [np.array(p) + by for p in made.positions_mm]
    return tuple((float(p[0]), float(p[1]), float(p[2])) for p in places)


def has_liver(made: Exam) -> bool:
    """Whether there is enough parenchyma to measure: 8 cm² on some slice."""
    row, column, _ = made.spacing_mm
    return bool((made.labels == LABEL["liver"]).sum((1, 2)).max() * row * column > 800)
