"""A parametric abdomen, from a small child's to an obese adult's, as labels at points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.anatomy.geometry import Ellipsoid, Points, Tube, Wave, draw_waves, warped
from bench.anatomy.tissues import LABEL, is_any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bench.anatomy.geometry import Vector

    Array = NDArray[Any]
    Mask = NDArray[np.bool_]

HABITUS = ("child", "slim", "normal", "obese")
LIVER_SHAPES = ("usual", "cirrhotic", "beaver tail", "riedel", "small", "large")
SPLEENS = ("usual", "huge", "none")
ARMS = ("up", "down", "one", "crossed")
BLEND = 6.0  # how softly the two lobes of a liver join


@dataclass(frozen=True, slots=True)
class Body:
    """The trunk: half axes, roundness, the fat and wall under the skin (mm)."""

    half_width: float
    half_depth: float
    power: float
    scale: float  # of organs, 1 for an adult
    waist: float
    fat: float
    fat_shape: tuple[float, ...]
    wall: float
    visceral_fat: float  # under a quarter: soft tissue between the organs
    ribs: tuple[float, float, float]  # period, offset, radius


@dataclass(frozen=True, slots=True)
class Dome:
    """The diaphragm: two paraboloids; right and left (x, y, width, depth, height)."""

    height: float
    right: tuple[float, ...]
    left: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Liver:
    """Two lobes that blend, what is carved from them and what runs through them."""

    lobes: tuple[Ellipsoid, ...]
    carved: tuple[Ellipsoid, ...]
    gap: float  # to the wall
    fissure: tuple[float, float, float] | None  # x, slope, half width
    tubes: tuple[Tube, ...]
    lesions: tuple[tuple[str, Ellipsoid], ...]
    nodules: float = 0.0  # mm by which a cirrhotic surface is uneven


@dataclass(frozen=True, slots=True)
class Spine:
    """Vertebral column, great vessels and the muscles beside them."""

    y: float
    radii: tuple[float, float]
    aorta: tuple[float, float, float]
    cava: tuple[float, float, float, float]
    psoas: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Hollow:
    """An organ that may hold gas above its content: gas where (y - centre) / radius is below the level."""

    name: str
    solid: Ellipsoid
    gas_above: float | None


@dataclass(frozen=True, slots=True)
class Arm:
    """An arm beside or in front of the trunk."""

    solid: Tube
    flat: float


@dataclass(frozen=True, slots=True)
class Abdomen:
    """Everything that decides the labels."""

    body: Body
    dome: Dome
    liver: Liver
    spine: Spine
    hollow: tuple[Hollow, ...]
    kidneys: tuple[Ellipsoid, ...]
    renal_fat: float
    pancreas: Ellipsoid
    spleen: Ellipsoid | None
    spleen_cut: Ellipsoid
    gallbladder: Ellipsoid | None
    heart: Ellipsoid
    ascites: float
    arms: tuple[Arm, ...]
    implants: tuple[Ellipsoid, ...]
    warp: tuple[Wave, ...]
    nodular: tuple[Wave, ...] = ()
    words: dict[str, str] = field(default_factory=dict)  # habitus, liver, spleen, arms


Draw = "Callable[[float, float], float]"


def draw(rng: np.random.Generator, **fixed: Any) -> Abdomen:
    """Draw an abdomen; ``fixed`` may name habitus, liver_shape, spleen, arms, ascites, implants."""
    habitus = _chosen(rng, fixed.get("habitus"), HABITUS, (0.16, 0.24, 0.38, 0.22))
    shape = _chosen(rng, fixed.get("liver_shape"), LIVER_SHAPES, (0.5, 0.12, 0.1, 0.08, 0.08, 0.12))
    spleen = _chosen(rng, fixed.get("spleen"), SPLEENS, (0.62, 0.26, 0.12))
    arms = _chosen(rng, fixed.get("arms"), ARMS, (0.58, 0.3, 0.07, 0.05))
    body = _draw_body(rng, habitus)
    dome = _draw_dome(rng, body)
    spine = _draw_spine(rng, body)
    return Abdomen(
        body=body,
        dome=dome,
        liver=_draw_liver(rng, body, dome, shape),
        spine=spine,
        hollow=_draw_hollow(rng, body),
        kidneys=_draw_kidneys(rng, body),
        renal_fat=body.scale * rng.uniform(2, 13) if rng.uniform() < 0.85 else 0.0,
        pancreas=_draw_pancreas(rng, body),
        spleen=_draw_spleen(rng, body, spleen),
        spleen_cut=_solid(rng, body, (0.25, 0.42), (0.0, 0.25), (15, 15), (0.22, 0.32), (0.35, 0.5), (55, 55)),
        gallbladder=_draw_gallbladder(rng, body) if rng.uniform() < 0.75 else None,
        heart=_draw_heart(rng, body, dome),
        ascites=_draw_ascites(rng, fixed.get("ascites")),
        arms=_draw_arms(rng, body, arms),
        implants=_draw_implants(rng, body, fixed.get("implants")),
        warp=draw_waves(rng, 7, 260, 3.2),
        nodular=draw_waves(rng, 5, 90, 1.0) if shape == "cirrhotic" else (),
        words={"habitus": habitus, "liver": shape, "spleen": spleen, "arms": arms},
    )


def _chosen(rng: np.random.Generator, wanted: str | None, names: tuple[str, ...], shares: tuple[float, ...]) -> str:
    drawn = str(rng.choice(names, p=shares))
    return drawn if wanted is None else wanted


def _solid(
    rng: np.random.Generator, body: Body, *ranges: tuple[float, float], power: float = 2.0, factor: float = 1.0
) -> Ellipsoid:
    """An ellipsoid: x, y of centre and radii in fractions of the body's half axes, z in mm of an adult."""
    a, b, s = body.half_width, body.half_depth, body.scale
    v = [float(rng.uniform(*r)) for r in ranges]
    return Ellipsoid((a * v[0], b * v[1], s * v[2]), (a * v[3] * factor, b * v[4] * factor, s * v[5] * factor), power)


def _draw_body(rng: np.random.Generator, habitus: str) -> Body:
    u = rng.uniform
    half_width = {"child": (88, 140), "slim": (132, 165), "normal": (145, 190), "obese": (180, 225)}[habitus]
    fat = {"child": (3, 14), "slim": (3, 10), "normal": (8, 28), "obese": (24, 60)}[habitus]
    a = float(u(*half_width))
    depth = (0.66, 0.88) if habitus == "obese" else (0.6, 0.82)
    # The fat of obese people lies outside: their organs are those of others.
    s = float((min(a, 180) / 165) ** 0.8)
    return Body(
        half_width=a,
        half_depth=a * float(u(*depth)),
        power=float(u(1.9, 2.9)),
        scale=s,
        waist=float(u(-0.1, 0.12)),
        fat=float(np.exp(u(np.log(fat[0]), np.log(fat[1])))),
        fat_shape=tuple(float(f) for f in u(-0.45, 0.45, 4)),
        wall=s * float(u(8, 18)),
        visceral_fat=float(u(0.3, 1) if habitus == "obese" else u(0, 1)),
        ribs=(s * float(u(24, 34)), float(u(0, 30)), s * float(u(3, 5))),
    )


def _draw_dome(rng: np.random.Generator, body: Body) -> Dome:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    y, depth = b * u(-0.1, 0.15), b * u(0.9, 1.25)
    return Dome(
        height=s * float(u(35, 75)),
        right=(-a * u(0.38, 0.5), y, a * u(0.5, 0.65), depth, s * u(40, 75)),
        left=(a * u(0.38, 0.52), y, a * u(0.45, 0.6), depth, s * u(25, 60)),
    )


# Factors on the right lobe's radii, the left lobe's radii, and where the left lobe ends, of each shape.
_LOBES = {
    "usual": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "cirrhotic": ((0.78, 0.85, 0.82), (1.25, 1.35, 1.2)),
    "beaver tail": ((1.0, 1.0, 1.0), (1.75, 1.0, 0.95)),
    "riedel": ((0.95, 0.95, 1.45), (0.9, 0.9, 0.9)),
    "small": ((0.82, 0.82, 0.82), (0.85, 0.85, 0.85)),
    "large": ((1.16, 1.1, 1.22), (1.2, 1.15, 1.25)),
}


def _draw_liver(rng: np.random.Generator, body: Body, dome: Dome, shape: str) -> Liver:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    right, left = _LOBES[shape]
    size = float(u(0.9, 1.08))
    low = -30.0 if shape == "riedel" else 0.0
    lobes = [
        _scaled(
            _solid(
                rng, body, (-0.52, -0.38), (-0.12, 0.14), (low - 15, low + 12), (0.48, 0.62), (0.78, 1.02), (78, 112)
            ),
            right,
            size,
            u(1.8, 3.0),
        ),
        _scaled(
            _solid(rng, body, (-0.1, 0.14), (-0.55, -0.34), (0, 38), (0.3, 0.6), (0.24, 0.42), (35, 68)),
            left,
            size,
            u(1.8, 2.6),
        ),
    ]
    if shape == "cirrhotic":  # a large caudate lobe between the cava and the hilum
        lobes.append(_solid(rng, body, (-0.16, -0.04), (0.0, 0.18), (0, 25), (0.16, 0.26), (0.2, 0.32), (28, 45)))
    carved = [_solid(rng, body, (0.08, 0.35), (0.0, 0.3), (-70, -15), (0.28, 0.5), (0.4, 0.65), (45, 85))]
    if u() < 0.7 and shape != "riedel":
        carved.append(_solid(rng, body, (-0.5, -0.25), (0.0, 0.35), (-110, -70), (0.2, 0.4), (0.3, 0.5), (30, 60)))
    return Liver(
        lobes=tuple(lobes),
        carved=tuple(carved),
        gap=s * float(u(1, 5)),
        fissure=(a * float(u(-0.12, 0.05)), float(u(-0.35, 0.35)), s * float(u(2, 5))) if u() < 0.55 else None,
        tubes=_draw_tubes(rng, body, dome) if u() < 0.95 else (),
        lesions=_draw_lesions(rng, a, b, s),
        nodules=float(u(1, 3)) if shape == "cirrhotic" else 0.0,
    )


def _scaled(solid: Ellipsoid, factors: tuple[float, ...], size: float, power: float) -> Ellipsoid:
    x, y, z = (r * f * size for r, f in zip(solid.radii, factors, strict=True))
    return Ellipsoid(solid.centre, (x, y, z), float(power))


def _draw_tubes(rng: np.random.Generator, body: Body, dome: Dome) -> tuple[Tube, ...]:
    """Portal branches from the hilum, then three hepatic veins down from the cava."""
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    hilum = np.array([-a * u(0.1, 0.25), b * u(-0.05, 0.2), s * u(-10, 20)])
    tubes = []
    for first in (
        np.array([-a * 0.45, b * u(-0.1, 0.2), s * u(-5, 25)]),
        np.array([a * u(-0.1, 0.05), -b * 0.35, s * u(10, 35)]),
    ):
        tubes.append(_tube(hilum, first, s * u(4, 8)))
        for _ in range(rng.integers(2, 5)):
            second = first + rng.normal(size=3) * np.array([a * 0.22, b * 0.25, s * 35])
            tubes.append(_tube(first, second, s * u(2, 4.5)))
            for _ in range(rng.integers(0, 3)):
                third = second + rng.normal(size=3) * np.array([a * 0.15, b * 0.18, s * 25])
                tubes.append(_tube(second, third, s * u(1.2, 2.8)))
    top = np.array([-a * u(0.1, 0.2), b * u(0.16, 0.3), dome.height + s * 20])
    for dx, dy in ((-0.62, 0.15), (-0.35, -0.45), (0.08, -0.5)):
        end = top + np.array([a * dx * u(0.7, 1.2), b * dy * u(0.7, 1.2), -s * u(35, 80)])
        middle = (top + end) / 2 + rng.normal(size=3) * 8
        tubes += [_tube(top, middle, s * u(4, 7)), _tube(middle, end, s * u(2, 5))]
    return tuple(tubes)


def _tube(start: Array, end: Array, radius: float) -> Tube:
    return Tube(_vector(start), _vector(end), float(radius))


def _vector(values: Array) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])


def _draw_lesions(rng: np.random.Generator, a: float, b: float, s: float) -> tuple[tuple[str, Ellipsoid], ...]:
    u, found = rng.uniform, []
    for _ in range(rng.choice([0, 0, 0, 1, 2, 5])):
        name = "cyst" if u() < 0.4 else "lesion"
        r = s * float(u(3, 20))
        found.append((name, Ellipsoid((-a * u(0.05, 0.75), b * u(-0.5, 0.5), s * u(-60, 60)), (r, r * u(0.7, 1.3), r))))
    return tuple(found)


def _draw_spine(rng: np.random.Generator, body: Body) -> Spine:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    # The column lies before the back, however much fat there is behind it.
    y, radii = b * u(0.42, 0.56), (s * u(19, 26), s * u(15, 21))
    return Spine(
        y=y,
        radii=radii,
        aorta=(s * u(2, 22), y - radii[1] - s * u(8, 15), s * u(7.5, 13)),
        cava=(-a * u(0.1, 0.2), y - radii[1] * u(0.6, 1) - s * u(4, 12), s * u(8, 16), s * u(5, 13)),
        psoas=(u(0.15, 0.5), s * u(11, 19), s * u(12, 20)),
    )


def _draw_hollow(rng: np.random.Generator, body: Body) -> tuple[Hollow, ...]:
    u, s = rng.uniform, body.scale
    found = []
    for _ in range(rng.integers(14, 40)):
        solid = _solid(rng, body, (-0.85, 0.85), (-0.85, 0.35), (-190, -15), (0.1, 0.1), (0.1, 0.1), (9, 34))
        radii = s * u(9, 34, 3)
        found.append(Hollow("bowel", Ellipsoid(solid.centre, _vector(radii)), u(-1.0, 1.1) if u() < 0.4 else None))
    colon = (
        ((-0.75, -0.5), (-0.5, 0.1), (-130, -60), (0.1, 0.2), (0.14, 0.3), (16, 36)),
        ((0.45, 0.75), (-0.5, 0.2), (-60, 30), (0.1, 0.2), (0.14, 0.3), (16, 38)),
        ((-0.2, 0.4), (-0.75, -0.5), (-90, -10), (0.25, 0.5), (0.1, 0.2), (14, 28)),
    )
    found += [Hollow("bowel", _solid(rng, body, *ranges), u(-0.8, 0.8)) for ranges in colon]
    stomach = _solid(rng, body, (0.22, 0.5), (-0.5, -0.15), (0, 45), (0.16, 0.38), (0.2, 0.42), (30, 70))
    return (*found, Hollow("stomach", stomach, u(-0.7, 1.3)))


def _draw_kidneys(rng: np.random.Generator, body: Body) -> tuple[Ellipsoid, ...]:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    return tuple(
        Ellipsoid(
            (side * a * u(0.36, 0.52), b * u(0.38, 0.58), -s * u(45, 95) + (12 if side > 0 else 0)),
            (s * u(22, 34), s * u(20, 32), s * u(45, 60)),
        )
        for side in ((-1, 1) if u() < 0.96 else (1,))
    )


def _draw_pancreas(rng: np.random.Generator, body: Body) -> Ellipsoid:
    return _solid(rng, body, (0.0, 0.2), (-0.2, 0.0), (-35, -5), (0.28, 0.42), (0.08, 0.14), (14, 24))


def _draw_spleen(rng: np.random.Generator, body: Body, kind: str) -> Ellipsoid | None:
    usual = _solid(rng, body, (0.58, 0.74), (0.25, 0.5), (0, 40), (0.15, 0.26), (0.3, 0.5), (38, 62))
    huge = _solid(rng, body, (0.5, 0.72), (0.1, 0.45), (-30, 30), (0.28, 0.48), (0.45, 0.8), (70, 140))
    return {"usual": usual, "huge": huge, "none": None}[kind]


def _draw_gallbladder(rng: np.random.Generator, body: Body) -> Ellipsoid:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    centre = (-a * u(0.18, 0.4), -b * u(0.25, 0.6), -s * u(35, 75))
    return Ellipsoid(centre, (s * u(10, 19), s * u(12, 26), s * u(18, 38)))


def _draw_heart(rng: np.random.Generator, body: Body, dome: Dome) -> Ellipsoid:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    centre = (a * u(0.05, 0.3), -b * u(0.2, 0.5), dome.height + s * u(45, 75))
    return Ellipsoid(centre, (a * u(0.3, 0.42), b * u(0.38, 0.55), s * u(40, 60)))


def _draw_ascites(rng: np.random.Generator, wanted: float | None) -> float:
    drawn = float(rng.uniform(4, 26)) if rng.uniform() < 0.09 else 0.0
    return drawn if wanted is None else wanted


def _draw_arms(rng: np.random.Generator, body: Body, kind: str) -> tuple[Arm, ...]:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    radius, y, gap = s * u(26, 42), b * u(-0.1, 0.5), u(1, 14)
    beside = a * (1 + abs(body.waist)) + gap + radius
    down = [
        Arm(Tube((side * beside, y, -400.0), (side * (beside + u(-10, 10)), y, 400.0), radius), u(0.85, 1.25))
        for side in (-1, 1)
    ]
    crossed = Arm(Tube((-a, -b - radius, -s * u(20, 120)), (a, -b - radius, -s * u(20, 120)), radius * 0.8), 1.0)
    return {"up": (), "down": tuple(down), "one": (down[1],), "crossed": (crossed,)}[kind]


def _draw_implants(rng: np.random.Generator, body: Body, wanted: bool | None) -> tuple[Ellipsoid, ...]:
    u, a, b, s = rng.uniform, body.half_width, body.half_depth, body.scale
    there = u() < 0.05
    places = (
        (-a * 0.3, -b * 0.3, -s * 40),  # clips where a gallbladder was
        (0.0, b * 0.6, s * u(-60, 60)),  # a screw in the spine
        (a * 0.5, -b * 0.8, s * u(-20, 80)),  # a port or wires in the wall
    )
    chosen, r = places[int(rng.integers(3))], float(u(2, 7))
    return (Ellipsoid(chosen, (r, r, r)),) if (there if wanted is None else wanted) else ()


@dataclass(slots=True)
class _Canvas:
    """Labels in the making, with what the painters ask again and again."""

    labels: NDArray[np.uint8]
    points: Points
    box: tuple[Array, Array]
    inner: Mask  # within the fat
    cavity: Mask  # within the wall
    depth: Array  # mm below the wall
    height: Array  # of the diaphragm
    below: Mask  # cavity under the diaphragm

    def paint(self, where: Mask, name: str) -> None:
        self.labels[where] = LABEL[name]


def labels_at(abdomen: Abdomen, points: Points) -> NDArray[np.uint8]:
    """Return what lies at points; later organs over earlier ones."""
    canvas = _trunk(abdomen, warped(points, abdomen.warp))
    for paint in (_ribs, _filling, _hollow_organs, _kidneys, _spleen, _liver, _chest, _backbone, _arms, _implants):
        paint(canvas, abdomen)
    return canvas.labels


def _trunk(abdomen: Abdomen, p: Points) -> _Canvas:
    body = abdomen.body
    girth = 1 + body.waist * np.clip(p.z / (150 * body.scale), -1.2, 1.2)
    angle = np.arctan2(p.y / body.half_depth, p.x / body.half_width)
    f = body.fat_shape
    uneven = 1 + f[0] * np.cos(2 * angle) + f[1] * np.sin(angle) + f[2] * np.cos(angle) + f[3] * np.cos(3 * angle)
    fat = body.fat * np.clip(uneven, 0.25, 2)
    n = body.power
    ring = (np.abs(p.x / (body.half_width * girth)) ** n + np.abs(p.y / (body.half_depth * girth)) ** n) ** (1 / n)
    depth = (1 - ring) * np.hypot(p.x, p.y) / np.maximum(ring, 0.05)  # mm below the skin
    inside = ring < 1
    inner = inside & (depth > fat)
    cavity = inner & (depth > fat + body.wall)
    height = _diaphragm(abdomen, p)
    labels = np.zeros(p.shape, np.uint8)
    canvas = _Canvas(labels, p, p.box(), inner, cavity, depth - fat - body.wall, height, cavity & (p.z <= height))
    canvas.paint(inside, "fat")
    canvas.paint(inner, "muscle")
    return canvas


def _diaphragm(abdomen: Abdomen, p: Points) -> Array:
    dome, s = abdomen.dome, abdomen.body.scale

    def cupola(x: float, y: float, width: float, depth: float, high: float) -> Array:
        bowl: Array = high * (0.5 - ((p.x - x) / width) ** 2 - ((p.y - y) / depth) ** 2)
        return bowl

    right = dome.height + cupola(*dome.right)
    left = dome.height - 10 * s + cupola(*dome.left)
    lowest: Array = np.maximum(np.maximum(right, left), dome.height - 75 * s)
    return lowest


def _ribs(c: _Canvas, abdomen: Abdomen) -> None:
    period, offset, radius = abdomen.body.ribs
    p, wall = c.points, abdomen.body.wall
    across = np.abs(c.depth + 0.5 * wall)
    along = (p.z + 0.22 * np.abs(p.x) + 0.35 * p.y + offset) % period - period / 2
    in_wall = c.inner & ~c.cavity & (p.z > -40 * abdomen.body.scale)
    c.paint(in_wall & (across**2 + along**2 < 2 * radius**2), "bone")


def _filling(c: _Canvas, abdomen: Abdomen) -> None:
    c.paint(c.cavity, "fat" if abdomen.body.visceral_fat > 0.25 else "bowel")


def _hollow_organs(c: _Canvas, abdomen: Abdomen) -> None:
    *bowel, stomach = abdomen.hollow
    for organ in bowel:
        _hollow(c, organ, 0.75)
    c.paint(c.below & (abdomen.pancreas.level(c.points) < 1), "pancreas")
    _hollow(c, stomach, 0.82)


def _hollow(c: _Canvas, organ: Hollow, lumen: float) -> None:
    if not organ.solid.meets(c.box):
        return
    level = organ.solid.level(c.points)
    c.paint(c.below & (level < 1), organ.name)
    if organ.gas_above is not None:
        up = (c.points.y - organ.solid.centre[1]) / organ.solid.radii[1] < -organ.gas_above
        c.paint(c.below & (level < lumen) & up, "gas")


def _kidneys(c: _Canvas, abdomen: Abdomen) -> None:
    s = abdomen.body.scale
    for kidney in abdomen.kidneys:
        if not kidney.grown(20).meets(c.box):
            continue
        if abdomen.renal_fat:
            c.paint(c.below & (kidney.grown(abdomen.renal_fat).level(c.points) < 1), "fat")
        c.paint(c.below & (kidney.level(c.points) < 1), "kidney")
        sinus = kidney.level(c.points.moved(float(np.sign(kidney.centre[0])) * 7 * s, 0, 0)) < 0.18
        c.paint(c.below & sinus, "fat")


def _spleen(c: _Canvas, abdomen: Abdomen) -> None:
    if abdomen.spleen is not None:
        inside = (abdomen.spleen.level(c.points) < 1) & (abdomen.spleen_cut.level(c.points) > 1)
        c.paint(c.below & inside & (c.depth > 1), "spleen")


def _liver(c: _Canvas, abdomen: Abdomen) -> None:
    liver, p = abdomen.liver, c.points
    if abdomen.nodular:
        p = warped(p, abdomen.nodular)
    levels = sum(np.maximum(lobe.level(p), 1e-3) ** -BLEND for lobe in liver.lobes) ** (-1 / BLEND)
    inside = c.below & (levels < 1) & (c.depth > liver.gap + abdomen.ascites)
    inside &= c.points.z < c.height - 3 * abdomen.body.scale
    for gone in _beside_the_liver(abdomen):
        inside &= gone.level(c.points) > 1
    inside &= ~_beside_the_spine(abdomen, c.points) & ~_fissure(abdomen, c.points)
    if abdomen.ascites:
        kept = is_any(c.labels, ("spleen", "kidney"))
        c.paint(c.below & (c.depth < liver.gap + abdomen.ascites) & (levels < 1.8) & ~kept, "ascites")
    c.paint(inside, "liver")
    for name, lesion in liver.lesions:
        if lesion.meets(c.box):
            c.paint(inside & (lesion.level(c.points) < 1), name)
    for tube in liver.tubes:
        if tube.meets(c.box):
            c.paint(inside & tube.holds(c.points), "vessel")
    if abdomen.gallbladder is not None:
        c.paint(c.below & (abdomen.gallbladder.level(c.points) < 1), "gallbladder")


def _beside_the_liver(abdomen: Abdomen) -> tuple[Ellipsoid, ...]:
    around = max(abdomen.renal_fat * 0.6, 2 * abdomen.body.scale)
    return (*abdomen.liver.carved, *(kidney.grown(around) for kidney in abdomen.kidneys))


def _beside_the_spine(abdomen: Abdomen, p: Points) -> Mask:
    spine = abdomen.spine
    near: Mask = (p.x / (spine.radii[0] * 1.5)) ** 2 + ((p.y - spine.y) / (spine.radii[1] * 1.7)) ** 2 <= 1
    return near


def _fissure(abdomen: Abdomen, p: Points) -> Mask:
    if abdomen.liver.fissure is None:
        return np.zeros(p.shape, bool)
    x, slope, width = abdomen.liver.fissure
    body = abdomen.body
    cut: Mask = (np.abs(p.x - x - slope * p.y) < width) & (p.y < -0.25 * body.half_depth) & (p.z < 25 * body.scale)
    return cut


def _chest(c: _Canvas, abdomen: Abdomen) -> None:
    c.paint(c.cavity & (c.points.z > c.height), "lung")
    level = abdomen.heart.level(c.points)
    above = c.cavity & (c.points.z > c.height - 8 * abdomen.body.scale)
    c.paint(above & (level < 1), "heart")
    c.paint(above & (level < 0.45), "blood")


def _backbone(c: _Canvas, abdomen: Abdomen) -> None:
    spine, s, p = abdomen.spine, abdomen.body.scale, c.points
    rx, ry = spine.radii
    side, back = np.abs(p.x), p.y - spine.y
    erector = ((side - rx * 1.55) / (rx * 1.15)) ** 2 + ((back - ry * 1.6) / (ry * 1.2)) ** 2 < 1
    crus = ((side - rx * 1.25) / (rx * 0.5)) ** 2 + (back / ry) ** 2 < 1
    slope, width, depth = spine.psoas
    psoas = ((side - rx * 1.2 - slope * np.maximum(0, -p.z - 10 * s)) / width) ** 2 + (back / depth) ** 2 < 1
    c.paint(c.inner & (erector | crus | (psoas & (p.z < 10 * s))), "muscle")
    vertebra = (p.x / rx) ** 2 + (back / ry) ** 2
    c.paint(c.inner & (vertebra < 1.12), "bone")
    c.paint(c.inner & (vertebra < 1) & ((p.z / s) % 36 >= 9), "marrow")
    canal = spine.y + ry * 1.35
    c.paint(c.inner & ((p.x / (9 * s)) ** 2 + ((p.y - canal) / (8 * s)) ** 2 < 1), "csf")
    c.paint(c.inner & (side < 4 * s) & (p.y > canal + 9 * s) & (p.y < canal + 30 * s), "marrow")
    x, y, r = spine.aorta
    c.paint(c.inner & ((p.x - x) ** 2 + (p.y - y) ** 2 < r**2), "blood")
    x, y, wide, deep = spine.cava
    c.paint(c.inner & (((p.x - x) / wide) ** 2 + ((p.y - y) / deep) ** 2 < 1), "blood")


def _arms(c: _Canvas, abdomen: Abdomen) -> None:
    outside = c.labels == LABEL["air"]
    for arm in abdomen.arms:
        for name, share in (("fat", 1.0), ("muscle", 0.82), ("bone", 0.36), ("marrow", 0.27)):
            tube = Tube(arm.solid.start, arm.solid.end, arm.solid.radius * share)
            c.paint(outside & tube.holds(c.points), name)


def _implants(c: _Canvas, abdomen: Abdomen) -> None:
    for implant in abdomen.implants:
        c.paint(implant.level(c.points) < 1, "implant")
