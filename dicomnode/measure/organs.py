"""The organs that can be measured: a table, to which other packages may add theirs."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dicomnode import plugins
from dicomnode.measure import heart, iron, phantom, regions
from dicomnode.measure.organ import Answered, Organ, Ranges, Repeatability, Site
from dicomnode.measure.planes import about_body_axes, about_short_axis, any_plane

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "HEART",
    "LIVER",
    "ORGANS",
    "PHANTOM",
    "Answered",
    "Organ",
    "Ranges",
    "Repeatability",
    "Site",
    "made_from",
    "measures_phantoms",
    "named",
    "of_result",
    "taken_for",
    "turned_out",
]

LIVER = Organ(
    name="liver",
    code="10200004",
    retired_codes=("T-62000",),
    body_part="LIVER",
    subject="Liver iron",
    ranges=Ranges(
        "Reeder 2023",  # Radiology; mg Fe per g dry weight
        (
            (float("-inf"), 1.8, "normal"),
            (1.8, 3.2, "borderline"),
            (3.2, 7.0, "mild"),
            (7.0, 15.0, "moderate"),
            (15.0, float("inf"), "severe"),
        ),
        top=43.0,
    ),
    find=regions.find,
    calibrations=iron.of("liver"),
    smallest_mg_per_g=iron.SMALLEST_MG_PER_G,
    without_iron=regions.WITHOUT_IRON,
    region="abdomen",
    words=(
        *("liver", "leber", "|foie|", "fegato", "higado", "figado", "hepat", "hepar", "ferriscan", "|lic|"),
        *("abdom", "|abd", "addom", "bauch", "viscera", "trunk"),
        *("spleen", "milz", "kidney", "renal", "pancrea", "mrcp"),
    ),
    scenes=("trunk",),
    lies_in=about_body_axes,
    planes="axial, coronal or sagittal",
    device="Liver Iron Node",
    concentration="liver iron concentration",
    symbol="LIC",
    repeatability=Repeatability(share=0.15, least=iron.SMALLEST_MG_PER_G, source="of this software, docs/why.md"),
    fits_phase=True,
)
HEART = Organ(
    name="heart",
    code="80891009",
    retired_codes=("T-32000",),
    body_part="HEART",
    subject="Cardiac T2*",
    ranges=Ranges(
        "Anderson 2001, Kirk 2009",  # Eur Heart J 22:2171, Circulation 120:1961: T2* of 20 and 10 ms at 1.5 T
        (
            (float("-inf"), 50.0, "normal"),
            (50.0, 100.0, "mild to moderate"),
            (100.0, float("inf"), "severe"),
        ),
        top=250.0,
        of_rate=True,
        fields_t=(1.4, 1.6),
    ),
    find=heart.find,
    calibrations=iron.of("heart"),
    smallest_mg_per_g=iron.SMALLEST_MG_PER_G,
    without_iron=frozenset({heart.RING}),
    region="heart",
    words=(
        *("heart", "cardiac", "cardio", "kardi", "|herz", "coeur", "cuore", "corazon", "coracao", "myocard", "miocard"),
        *("|sax|", "short axis", "shortaxis", "kurzachse"),
    ),
    scenes=("heart",),
    lies_in=about_short_axis,
    planes="the short axis of the left ventricle",
    device="Cardiac Iron Node",
    concentration="myocardial iron concentration",
    symbol="MIC",
    answers=Answered.T2STAR,
    drawn_as="septum",
    sites={
        heart.SEPTUM: Site("589001", "Interventricular septum", ("T-32410",)),
        heart.RING: Site("49848007", "Myocardium of left ventricle"),
        "myocardium": Site("74281007", "Myocardium"),
    },
)
# No organ, and none of the table: nobody asks for it. What was taken for an organ turns out to be one by its images.
PHANTOM = Organ(
    name=phantom.PHANTOM,
    code="706342009",
    retired_codes=(),
    body_part="PHANTOM",
    subject="Phantom",
    ranges=None,
    find=phantom.found,
    calibrations=(),
    smallest_mg_per_g=iron.SMALLEST_MG_PER_G,
    without_iron=frozenset(),
    region="phantom",
    words=("phantom", "fantom", "|qa|", "|acr|"),
    scenes=("phantom",),
    lies_in=any_plane,
    planes="any",
    device="Phantom Node",
    answers=Answered.RATE,
)


class _Organs(Mapping[str, Organ]):
    """Organs by name: ours, then those of other packages, whose code is loaded when the table is first looked at."""

    @functools.cached_property
    def _known(self) -> dict[str, Organ]:
        known = {organ.name: organ for organ in (LIVER, HEART)}
        for plugin in plugins.offered(plugins.ORGANS):
            known[plugin.name] = _added(plugin, known)
        return known

    def __getitem__(self, name: str) -> Organ:
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def _added(plugin: plugins.Plugin, known: Mapping[str, Organ]) -> Organ:
    organ = plugin.load()
    if not isinstance(organ, Organ):
        raise plugins.broken(plugin, f"it is a {type(organ).__name__}, no dicomnode.measure.organ.Organ")
    if organ.name != plugin.name:
        raise plugins.broken(plugin, f"its record is of {organ.name!r}, its entry point of {plugin.name!r}")
    if organ.name in {*known, PHANTOM.name}:
        raise plugins.broken(plugin, "this node has an organ of that name")
    if organ.repeatability is not None and organ.answers is not Answered.IRON:
        raise plugins.broken(plugin, f"its repeatability is of a concentration, and it answers with {organ.quantity}")
    if not organ.has_iron:
        raise plugins.broken(plugin, "it answers with R2* alone, which only a phantom does")
    if any(organ.name not in line.organs for line in organ.calibrations):
        raise plugins.broken(plugin, "one of its calibrations does not name it")
    return replace(organ, origin=plugin.origin)


ORGANS: Mapping[str, Organ] = _Organs()


def made_from(parameters: Mapping[str, Any], organ: Organ, *, phantoms: str = "measured") -> dict[str, Any]:
    """What can change a number of a result of that organ: of the settings, with what another organ has left out.

    Beside them stand the organ, what becomes of phantoms ([grouping] phantoms) where it turns out to be one, and the
    packages that it or the method of fitting come from, with their versions.
    """
    method = plugins.origin(plugins.METHODS, parameters.get("fit", {}).get("method", ""))
    packages = {"organ": organ.origin, "method": method}
    return {
        **parameters,
        **({"measure": _of_organ(parameters["measure"], organ)} if "measure" in parameters else {}),
        "organ": {"name": organ.name},
        "phantoms": phantoms,
        "packages": {what: origin for what, origin in packages.items() if origin},
    }


def _of_organ(settings: Mapping[str, Any], organ: Organ) -> dict[str, Any]:
    """Of [measure] what is of one organ: its own lines, and the one that is chosen for it."""
    measure = dict(settings)
    own = [one for one in measure["calibrations"] if one["organ"] == organ.name]
    name = measure.pop("organ_calibrations", {}).get(organ.name, measure["calibration"])
    known = {line.name for line in organ.calibrations} | {one["name"] for one in own}
    return measure | {"calibration": name if name in known else "none", "calibrations": own}


def measuring(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``made_from`` differs from the settings of [measure]."""
    return {"calibration": parameters["measure"]["calibration"]}


def measures_phantoms(parameters: Mapping[str, Any]) -> bool:
    """Whether these parameters have phantoms measured; before they said so, none was."""
    return bool(parameters.get("phantoms") == "measured")


def turned_out(parameters: dict[str, Any], organ: Organ) -> dict[str, Any]:
    """The parameters of a result that is of another organ than its series was taken for.

    Its key is that of the parameters as they were: they, the images and the software alone decide what it turns out.
    """
    before = taken_for(parameters)
    if organ is before:
        return parameters
    return {**parameters, "organ": {"name": organ.name, "taken_for": before.name}}


def of_result(parameters: Mapping[str, Any]) -> Organ:
    """The organ of a result that was made from these parameters; what names none is older than a second organ."""
    return named(parameters.get("organ", {}).get("name", LIVER.name))


def taken_for(parameters: Mapping[str, Any]) -> Organ:
    """The organ of which the series was taken when its job began."""
    organ = parameters.get("organ", {})
    return named(organ.get("taken_for", organ.get("name", LIVER.name)))


def named(name: str) -> Organ:
    """An organ by its name, a phantom too; raises KeyError where none is known."""
    return PHANTOM if name == PHANTOM.name else ORGANS[name]
