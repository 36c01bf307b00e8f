"""Arrays with named dimensions (xarray's DataArray) in and out, without needing the package that makes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

ECHO = frozenset({"echo", "echoes", "echo_time", "echo_times", "echo_time_ms", "echo_times_ms", "te", "te_ms"})
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Labels:
    """The names that a signal came with."""

    template: Any  # one echo of it, without the dimension of echoes
    echo: str

    @classmethod
    def of(cls, signal: Any) -> Labels | None:
        """Return the names, None where the signal has none.

        Echoes lie along the dimension that is called so (``ECHO``, in any case of letters), else along the last.
        """
        if not _is_labelled(signal) or signal.ndim == 0:
            return None
        echo = next((name for name in signal.dims if str(name).lower() in ECHO), signal.dims[-1])
        return cls(signal.isel({echo: 0}, drop=True), echo)

    def echoes_last(self, signal: Any) -> Any:
        """The numbers of the signal, echoes along the last axis."""
        return signal.transpose(*self.template.dims, self.echo).values

    def like(self, value: Any) -> Any:
        """The numbers of a mask or a sigma in the order of the signal's dimensions, which it may name otherwise."""
        if not _is_labelled(value):
            return value
        return value.broadcast_like(self.template).transpose(*self.template.dims).values

    def onto(self, fit: Value, units: Mapping[str, str]) -> Value:
        """The same result, whose fields named in ``units`` have the signal's names, coordinates and a unit each."""
        found = {name: getattr(fit, name) for name in units}
        named = {name: self._named(name, map_, units[name]) for name, map_ in found.items() if map_ is not None}
        return replace(fit, **named)  # type: ignore[type-var]

    def _named(self, name: str, map_: Any, unit: str) -> Any:
        out = self.template.copy(data=map_)
        out.name, out.attrs = name, {"units": unit} if unit else {}
        return out


def _is_labelled(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("dims", "coords", "isel", "transpose"))
