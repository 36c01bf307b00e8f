"""``dicomnode simulate``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dicomnode import simulate
from dicomnode.cli.options import counted
from dicomnode.operate import demo


@click.command("simulate")
@click.argument("target")
@click.option("--dialect", default="siemens-ve", show_default=True, help="Whose headers to write.")
@click.option("--heart", is_flag=True, help="A heart in its short axis in place of the abdomen.")
@click.option(
    "--blood", type=click.Choice(["bright", "black"]), default="bright", show_default=True, help="Of a heart."
)
@click.option("--t2star", default=6.0, show_default=True, help="T2* of the liver, or of the heart's septum, ms.")
@click.option("--fat", default=0.0, show_default=True, help="Signal fraction of fat in the liver, 0 to 1.")
@click.option("--snr", default=50.0, show_default=True, help="S0 over the noise's standard deviation.")
@click.option("--field", default=None, type=float, help="Field strength, T.")
@click.option("--slices", default=3, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--traps", is_flag=True, help="Add what must not become an echo: phase, maps, localisers.")
@click.option("--calling", default="SIMULATOR", show_default=True, help="AE title to send as.")
@click.option("--called", default="LIVERIRON", show_default=True, help="AE title to send to.")
def command(target: str, dialect: str, calling: str, called: str, **options: Any) -> None:
    """Make a synthetic series with known truth in DIR, or send it to HOST:PORT."""
    plan = _plan(dialect, options)
    try:
        simulated = simulate.make(plan, datetime.now(UTC))
    except ValueError as fault:  # what the options ask for cannot be drawn
        raise click.UsageError(str(fault)) from fault
    host, _, port = target.rpartition(":")
    if host and port.isdigit():
        count = demo.send_series(simulated.instances, host, int(port), calling=calling, called=called)
        click.echo(f"sent {counted(count, 'object')} to {called}@{target}")
    else:
        paths = simulate.write(simulated, Path(target))
        click.echo(f"wrote {counted(len(paths), 'object')} and truth.json to {target}")


def _plan(dialect: str, options: dict[str, Any]) -> simulate.SeriesPlan:
    if dialect not in simulate.DIALECTS:
        raise click.BadParameter(f"'{dialect}' is none of {', '.join(simulate.DIALECTS)}", param_hint="--dialect")
    given = {
        **(
            _heart(options) if options["heart"] else {"liver_t2star_ms": options["t2star"], "liver_fat": options["fat"]}
        ),
        "snr": options["snr"],
        "slices": options["slices"],
        "seed": options["seed"],
        "with_traps": options["traps"],
        "field_strength_t": options["field"] or (1.5 if options["heart"] else None),
    }
    return simulate.SeriesPlan(dialect=dialect, **{name: v for name, v in given.items() if v is not None})


def _liver(options: dict[str, Any]) -> dict[str, Any]:
    return {"liver_t2star_ms": options["t2star"], "liver_fat": options["fat"]}


def _heart(options: dict[str, Any]) -> dict[str, Any]:
    return {
        "heart": simulate.HeartPlan(t2star_ms=options["t2star"], blood=options["blood"]),
        "orientation": "short-axis",
        "echo_times_ms": simulate.HEART_ECHO_TIMES_MS,
        "patient_name": "HEART^SIMULATED",
    }
