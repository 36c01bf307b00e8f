"""What else lies in scanners: heads, thighs, pelves, knees, physical phantoms, simply drawn abdomens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy.geometry import Ellipsoid, Points, Wave, draw_waves, warped
from bench.anatomy.tissues import LABEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

FAR = 1e4  # mm: a half axis that makes an ellipsoid a cylinder


@dataclass(frozen=True, slots=True)
class Layer:
    """One painted solid; ``only_on`` names the label it may cover, None for any but air."""

    name: str
    solid: Ellipsoid
    only_on: str | None = None
    first: bool = False  # may cover air


@dataclass(frozen=True, slots=True)
class Stack:
    """An object painted layer upon layer."""

    layers: tuple[Layer, ...]
    warp: tuple[Wave, ...] = ()


def labels_of(stack: Stack, points: Points) -> NDArray[np.uint8]:
    """Return what lies at points."""
    p = warped(points, stack.warp)
    labels = np.zeros(p.shape, np.uint8)
    for layer in stack.layers:
        inside = layer.solid.level(p) < 1
        if layer.only_on is not None:
            inside &= labels == LABEL[layer.only_on]
        elif not layer.first:
            inside &= labels != LABEL["air"]
        labels[inside] = LABEL[layer.name]
    return labels


def _rod(x: float, y: float, rx: float, ry: float, power: float = 2.0) -> Ellipsoid:
    return Ellipsoid((x, y, 0.0), (rx, ry, FAR), power)


def _peeled(solid: Ellipsoid, mm: float) -> Ellipsoid:
    return solid.grown(-mm)


def head(rng: np.random.Generator) -> Stack:
    """Scalp, skull, brain with ventricles, eyes and sinuses."""
    u = rng.uniform
    skin = Ellipsoid((0, 0, 0), (u(62, 82), u(80, 102), u(90, 115)))
    bone, brain = _peeled(skin, u(3, 9)), _peeled(skin, u(11, 17))
    layers = [
        Layer("fat", skin, first=True),
        Layer("bone", bone),
        Layer("csf", brain),
        Layer("brain", _peeled(brain, u(1, 5))),
    ]
    for side in (-1, 1):
        layers.append(Layer("csf", Ellipsoid((side * u(8, 16), u(-10, 10), u(0, 20)), (u(4, 10), u(18, 35), u(8, 18)))))
        eye = Ellipsoid((side * 30, -skin.radii[1] * 0.82, -25), (12, 13, 12))
        layers.append(Layer("csf", eye))
    layers.append(Layer("gas", Ellipsoid((0, -skin.radii[1] * 0.7, -45), (u(10, 22), u(10, 25), 25))))
    layers.append(Layer("muscle", Ellipsoid((0, 20, -105), (55, 60, 45))))
    return Stack(tuple(layers), draw_waves(rng, 4, 200, 1.5))


def limbs(rng: np.random.Generator) -> Stack:
    """One or two thighs, calves or knees."""
    u = rng.uniform
    two, joint = u() < 0.65, u() < 0.3
    r = u(45, 105)
    layers: list[Layer] = []
    for side in (-1, 1) if two else (0,):
        x = side * (r + u(1, 30))
        skin = _rod(x, 0, r, r * u(0.85, 1.15), u(1.9, 2.3))
        fat = r * u(0.05, 0.35)
        shaft = r * (u(0.5, 0.7) if joint else u(0.14, 0.24))
        layers += [Layer("fat", skin, first=True), Layer("muscle", _peeled(skin, fat))]
        centre = (x + u(-0.1, 0.1) * r, u(-0.15, 0.1) * r)
        layers += [Layer("bone", _rod(*centre, shaft, shaft)), Layer("marrow", _rod(*centre, shaft * 0.7, shaft * 0.7))]
        layers += [
            Layer("blood", _rod(x + u(-0.5, 0.5) * r, u(-0.4, 0.5) * r, u(2, 6), u(2, 6)), "muscle") for _ in range(4)
        ]
        for _ in range(rng.integers(3, 9)):  # septa between muscles
            angle = u(0, 2 * np.pi)
            layers.append(
                Layer("fat", _rod(x + 0.4 * r * np.cos(angle), 0.4 * r * np.sin(angle), u(1, 3), u(10, 30)), "muscle")
            )
    return Stack(tuple(layers), draw_waves(rng, 5, 200, 3.0))


def pelvis(rng: np.random.Generator) -> Stack:
    """Hips, gluteal muscles, bladder and bowel, as far below the liver as a table may be set wrongly."""
    u = rng.uniform
    a = u(120, 210)
    b = a * u(0.55, 0.75)
    skin = _rod(0, 0, a, b, u(2.0, 2.8))
    fat = u(5, 35)
    inner = _peeled(skin, fat)
    layers = [Layer("fat", skin, first=True), Layer("muscle", inner)]
    layers.append(Layer("fat", _rod(0, -b * 0.1, a * 0.5, b * 0.5), "muscle"))
    for side in (-1, 1):
        hip = Ellipsoid((side * a * u(0.48, 0.6), b * u(-0.1, 0.2), u(-60, 20)), (u(24, 34), u(24, 36), u(25, 90)))
        layers += [Layer("bone", hip), Layer("marrow", _peeled(hip, 3))]
        layers.append(Layer("blood", _rod(side * a * 0.35, -b * 0.35, u(4, 7), u(4, 7))))
    sacrum = Ellipsoid((0, b * u(0.45, 0.6), u(0, 60)), (u(30, 50), u(14, 24), u(40, 80)))
    layers += [Layer("bone", sacrum), Layer("marrow", _peeled(sacrum, 3))]
    for _ in range(rng.integers(4, 16)):
        where = (a * u(-0.4, 0.4), b * u(-0.5, 0.3), u(-40, 120))
        layers.append(Layer("bowel", Ellipsoid(where, (u(10, 30), u(10, 30), u(15, 50)))))
        if u() < 0.3:
            layers.append(Layer("gas", Ellipsoid(where, (8, 8, 14))))
    bladder = Ellipsoid((u(-10, 10), -b * u(0.1, 0.35), u(-50, -10)), (u(20, 55), u(18, 45), u(20, 50)))
    layers.append(Layer("ascites", bladder))
    if u() < 0.5:
        layers.append(Layer("lesion", Ellipsoid((u(-10, 10), b * 0.1, u(-40, 20)), (u(18, 40), u(14, 30), u(18, 40)))))
    return Stack(tuple(layers), draw_waves(rng, 6, 260, 3.0))


def vials(rng: np.random.Generator) -> Stack:
    """Tubes of different iron in a rack, in a bath or in air."""
    u = rng.uniform
    r, columns, rows = u(6, 20), int(rng.integers(2, 6)), int(rng.integers(1, 5))
    pitch = r * u(2.3, 3.4)
    extent = (columns * pitch / 2 + r, rows * pitch / 2 + r)
    layers = []
    if u() < 0.6:
        power = 2.0 if u() < 0.4 else 12.0
        layers.append(Layer("fluid", _rod(0, 0, extent[0] * u(1.1, 1.6), extent[1] * u(1.1, 1.6), power), first=True))
    for i in range(columns):
        for j in range(rows):
            x, y = (i - (columns - 1) / 2) * pitch, (j - (rows - 1) / 2) * pitch
            layers += [
                Layer("bone", _rod(x, y, r + 1.5, r + 1.5), first=True),
                Layer("tube", _rod(x, y, r, r), first=True),
            ]
    return Stack(tuple(layers))


def bottle(rng: np.random.Generator) -> Stack:
    """One sphere, cylinder or box of fluid, sometimes with an insert."""
    u = rng.uniform
    rx = u(40, 170)
    ry = rx * u(0.5, 1.3)
    power = float(rng.choice([2.0, 2.0, 2.6, 10.0]))
    solid = Ellipsoid((0, 0, 0), (rx, ry, FAR if u() < 0.6 else u(60, 150)), power)
    layers = [Layer("fluid", solid, first=True)]
    if u() < 0.3:
        layers.insert(0, Layer("fat" if u() < 0.5 else "tube", solid.grown(u(4, 25)), first=True))
    if u() < 0.35:
        layers.append(Layer("tube", _rod(u(-0.5, 0.5) * rx, u(-0.4, 0.4) * ry, u(6, 40), u(6, 40))))
    if u() < 0.4:
        layers.append(Layer("gas", Ellipsoid((0, -ry, 0), (rx * u(0.2, 0.8), ry * u(0.05, 0.2), FAR))))
    return Stack(tuple(layers))


def drawn(rng: np.random.Generator) -> Stack:
    """An abdomen as simulators draw it: ellipses without detail, the liver on the patient's right."""
    u = rng.uniform
    a = u(95, 200)
    b = a * u(0.6, 0.95)
    skin = _rod(0, 0, a, b, u(1.9, 2.4))
    fat, wall = u(3, 24), u(3, 14)

    def organ(
        name: str, x: tuple[float, float], y: tuple[float, float], rx: tuple[float, float], ry: tuple[float, float]
    ) -> Layer:
        solid = Ellipsoid((a * u(*x), b * u(*y), 0), (a * u(*rx), b * u(*ry), u(100, 400)), u(1.9, 2.3))
        return Layer(name, solid)

    cavity = _peeled(skin, fat + wall)
    layers = [Layer("fat", skin, first=True), Layer("muscle", _peeled(skin, fat))]
    organs = []
    if u() < 0.8:
        organs.append(organ("stomach", (0.35, 0.65), (-0.45, -0.1), (0.16, 0.3), (0.18, 0.36)))
    organs.append(organ("liver", (-0.52, -0.36), (-0.12, 0.14), (0.34, 0.52), (0.5, 0.78)))
    if u() < 0.8:
        organs.append(organ("liver", (-0.14, 0.12), (-0.5, -0.25), (0.26, 0.5), (0.2, 0.38)))
    if u() < 0.85:
        organs.append(organ("spleen", (0.5, 0.74), (0.1, 0.45), (0.12, 0.26), (0.2, 0.42)))
    organs.append(organ("marrow", (-0.03, 0.03), (0.45, 0.65), (0.1, 0.2), (0.14, 0.26)))
    if u() < 0.7:
        organs.append(organ("blood", (0.0, 0.12), (0.16, 0.34), (0.05, 0.1), (0.07, 0.12)))
    if u() < 0.35:
        organs += [organ("kidney", x, (0.35, 0.6), (0.12, 0.18), (0.16, 0.22)) for x in ((-0.5, -0.36), (0.36, 0.5))]
    # Organs end at the wall: what sticks out is painted over by the wall again.
    layers += organs
    layers.append(Layer("muscle", _outside(cavity)))
    layers.append(Layer("fat", _outside(_peeled(skin, fat))))
    for _ in range(rng.integers(0, 9)):
        where = (a * u(-0.85, 0.2), b * u(-0.5, 0.55))
        layers.append(Layer("vessel", _rod(*where, u(2, 13), u(2, 8)), "liver"))
    if u() < 0.2:
        r = u(4, 22)
        layers.append(Layer("lesion", _rod(a * u(-0.7, -0.2), b * u(-0.3, 0.4), r, r), "liver"))
    waves = draw_waves(rng, 3, 260, 2.0) if u() < 0.4 else ()
    return Stack(tuple(layers), waves)


@dataclass(frozen=True, slots=True)
class _Complement(Ellipsoid):
    """All that an ellipsoid does not hold."""

    def level(self, p: Points) -> Array:
        return 1 / np.maximum(Ellipsoid.level(self, p), 1e-9)


def _outside(solid: Ellipsoid) -> _Complement:
    return _Complement(solid.centre, solid.radii, solid.power)


NOT_A_LIVER: dict[str, Callable[[np.random.Generator], Stack]] = {
    "head": head,
    "limbs": limbs,
    "pelvis": pelvis,
    "vials": vials,
    "bottle": bottle,
}
