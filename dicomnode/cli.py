"""The command line: one small function per sub-command.

Results go to standard output, what happens on the way to standard error. Exit status 0: done, 1: failed, 2: bad usage
or configuration.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

import dicomnode
from dicomnode import config, logs
from dicomnode.errors import ConfigError, NodeError

_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_config_option = click.option("--config", "config_path", type=_EXISTING_FILE, help="The configuration file.")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Group(click.Group):
    """Turns the errors of the node into messages and exit statuses."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a sub-command."""
        try:
            return super().invoke(ctx)
        except ConfigError as fault:
            click.echo(f"dicomnode: {fault}", err=True)
            ctx.exit(2)
        except NodeError as fault:
            click.echo(f"dicomnode: {fault}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            raise  # click ends quietly when nobody reads on
        except OSError as fault:
            click.echo(f"dicomnode: {fault.filename or 'operating system'}: {fault.strerror or fault}", err=True)
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(dicomnode.__version__)
@click.option("--log-json", is_flag=True, help="Log JSON lines.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info")
def main(log_json: bool, log_level: str) -> None:
    """Measure liver iron from multi-echo MRI and return the result to the PACS.

    Results are for research and clinical evaluation; this is not a cleared medical device.
    """
    logs.configure(json=log_json, level=log_level)
    _use_cache_directory()


def _use_cache_directory() -> None:
    """Let numba keep compiled kernels, and matplotlib its fonts, where systemd lets the service write.

    Both look at it when they are imported, so this comes before.
    """
    cache = os.environ.get("CACHE_DIRECTORY", "").split(":")[0]
    if cache:
        os.environ.setdefault("NUMBA_CACHE_DIR", f"{cache}/numba")
        os.environ.setdefault("MPLCONFIGDIR", f"{cache}/matplotlib")


def _settings(path: Path | None, *, for_serving: bool = False) -> config.Settings:
    return config.load(path or config.default_path(), for_serving=for_serving)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


@main.command()
@_config_option
def serve(config_path: Path | None) -> None:
    """Run the node: receive, process, send."""
    settings = _settings(config_path, for_serving=True)
    from dicomnode.node import Node  # noqa: PLC0415  the parts take a second to import

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Node(settings).serve(stop)


@main.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where results go.")
@_config_option
@click.option("--method", type=click.Choice(["admm", "admm-published", "lm-published", "nls"]), help="How to fit.")
@_json_option
def process(
    inputs: tuple[Path, ...], output: Path, config_path: Path | None, method: str | None, as_json: bool
) -> None:
    """Process files or folders without a network; write DICOM results and summary.json."""
    settings = _settings(config_path)
    if method is not None:
        settings = settings.model_copy(update={"fit": settings.fit.model_copy(update={"method": method})})
    from dicomnode import offline  # noqa: PLC0415

    summary = offline.process(inputs, output, settings, created=datetime.now(UTC), progress=_say)
    if as_json:
        _print_json(summary)
    else:
        _print_series(summary["series"])
        click.echo(f"results in {output}")
    statuses = {one["status"] for one in summary["series"]}
    sys.exit(0 if statuses & {"done", "no_number"} and "failed" not in statuses else 1)


def _say(what: str) -> None:
    click.echo(what, err=True)


def _print_series(series: list[dict[str, Any]]) -> None:
    from dicomnode.offline import lines  # noqa: PLC0415

    for one in series:
        for line in lines(one):
            click.echo(line)


@main.command()
@click.option("--input", "folder", type=click.Path(exists=True, path_type=Path), help="Use this series instead.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("build/demo"))
@_json_option
def demo(folder: Path | None, output: Path, as_json: bool) -> None:
    """Run scanner, node and PACS on loopback, end to end over real DICOM; print what was measured."""
    from dicomnode import demo as demonstration  # noqa: PLC0415

    outcome = demonstration.run(folder, output, say=_say)
    if as_json:
        _print_json(outcome)
    else:
        click.echo(demonstration.table(outcome))


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=Path("build/compare"))
@_config_option
@click.option(
    "--methods",
    help="What to set beside ADMM: nls,lm-100,lm-50 (the default), algorithm-1,algorithm-1-lambda-10, or 'all'.",
)
@_json_option
def compare(folder: Path, output: Path, config_path: Path | None, methods: str | None, as_json: bool) -> None:
    """Set ADMM beside LM beside the scanner's own map, per region; write tables and figures."""
    settings = _settings(config_path)
    from dicomnode.compare import comparison  # noqa: PLC0415

    chosen = list(comparison.METHODS) if methods == "all" else (methods or ",".join(comparison.QUICK)).split(",")
    unknown = [name for name in chosen if name not in comparison.METHODS]
    if unknown:
        known = ", ".join(comparison.METHODS)
        raise click.BadParameter(f"'{unknown[0]}' is none of {known}, all", param_hint="--methods")
    result, text = comparison.run(folder, output, chosen, settings, _say)
    if as_json:
        _print_json(result)
    else:
        click.echo(text)
        click.echo(f"tables and figures in {output}")


@main.command()
@click.argument("target")
@click.option("--dialect", default="siemens-ve", show_default=True, help="Whose headers to write.")
@click.option("--t2star", default=6.0, show_default=True, help="T2* of the liver, ms.")
@click.option("--snr", default=50.0, show_default=True, help="S0 over the noise's standard deviation.")
@click.option("--field", default=None, type=float, help="Field strength, T.")
@click.option("--slices", default=3, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--traps", is_flag=True, help="Add what must not become an echo: phase, maps, localisers.")
@click.option("--calling", default="SIMULATOR", show_default=True, help="AE title to send as.")
@click.option("--called", default="LIVERIRON", show_default=True, help="AE title to send to.")
def simulate(target: str, dialect: str, calling: str, called: str, **options: Any) -> None:
    """Make a synthetic series with known truth in DIR, or send it to HOST:PORT."""
    from dicomnode import simulate as simulation  # noqa: PLC0415

    plan = _plan(dialect, options)
    try:
        simulated = simulation.make(plan, datetime.now(UTC))
    except ValueError as fault:  # what the options ask for cannot be drawn
        raise click.UsageError(str(fault)) from fault
    host, _, port = target.rpartition(":")
    if host and port.isdigit():
        from dicomnode.demo import send_series  # noqa: PLC0415

        count = send_series(simulated.instances, host, int(port), calling=calling, called=called)
        click.echo(f"sent {count} objects to {called}@{target}")
    else:
        paths = simulation.write(simulated, Path(target))
        click.echo(f"wrote {len(paths)} objects and truth.json to {target}")


def _plan(dialect: str, options: dict[str, Any]) -> Any:
    from dicomnode import simulate as simulation  # noqa: PLC0415

    if dialect not in simulation.DIALECTS:
        raise click.BadParameter(f"'{dialect}' is none of {', '.join(simulation.DIALECTS)}", param_hint="--dialect")
    given = {
        "liver_t2star_ms": options["t2star"],
        "snr": options["snr"],
        "slices": options["slices"],
        "seed": options["seed"],
        "with_traps": options["traps"],
        "field_strength_t": options["field"],
    }
    return simulation.SeriesPlan(dialect=dialect, **{name: v for name, v in given.items() if v is not None})


@main.command()
@_config_option
@_json_option
def check(config_path: Path | None, as_json: bool) -> None:
    """Validate the file; ask every destination what it would refuse."""
    settings = _settings(config_path, for_serving=True)
    from dicomnode.checks import check_destinations  # noqa: PLC0415

    findings = check_destinations(settings)
    if as_json:
        _print_json(findings)
    else:
        click.echo("the configuration is valid")
        for finding in findings:
            click.echo(f"{finding['destination']}: {finding['verdict']}")
    sys.exit(0 if all(finding["ok"] for finding in findings) else 1)


@main.command()
def warm() -> None:
    """Compile the numerical kernels into the cache, so that the first study need not wait for it."""
    from dicomnode.fit import compile_kernels  # noqa: PLC0415

    compile_kernels()
    click.echo("the kernels are compiled")


@main.command()
@_config_option
def conformance(config_path: Path | None) -> None:
    """Print the DICOM conformance statement of this configuration."""
    settings = _settings(config_path)
    from dicomnode.conformance import statement  # noqa: PLC0415

    click.echo(statement(settings), nl=False)


@main.command()
@_config_option
@_json_option
def status(config_path: Path | None, as_json: bool) -> None:
    """Say what is waiting, done, refused or failed, and why."""
    from dicomnode.status import overview  # noqa: PLC0415

    _print_entries(overview(_spool(config_path)), as_json=as_json)


@main.command()
@click.argument("identifier", metavar="ID")
@_config_option
@_json_option
def show(identifier: str, config_path: Path | None, as_json: bool) -> None:
    """Say all about a study, series, accession number or result."""
    from dicomnode.status import find  # noqa: PLC0415

    _print_entries(_found(find(_spool(config_path), identifier), identifier), as_json=as_json, in_full=True)


@main.command()
@click.argument("identifier", metavar="ID")
@_config_option
def retry(identifier: str, config_path: Path | None) -> None:
    """Try again what was refused, failed or could not be delivered."""
    from dicomnode.status import find, request_retry  # noqa: PLC0415

    spool = _spool(config_path)
    entries = _found(find(spool, identifier), identifier)
    request_retry(spool, entries)
    click.echo(f"asked the node to try {len(entries)} series again")


def _found(entries: list[dict[str, Any]], identifier: str) -> list[dict[str, Any]]:
    if not entries:
        raise NodeError(f"nothing is known of {identifier}")
    return entries


def _spool(config_path: Path | None) -> Any:
    from dicomnode.spool import Spool  # noqa: PLC0415

    spool = Spool(_settings(config_path).storage_folder())
    if not spool.studies.is_dir():
        raise NodeError(f"{spool.folder} holds no node's data; is this the right --config?")
    return spool


def _print_entries(entries: list[dict[str, Any]], *, as_json: bool, in_full: bool = False) -> None:
    if as_json:
        _print_json(entries)
        return
    for entry in entries:
        name = entry["series_instance_uids"][0] if entry["series_instance_uids"] else entry["study_instance_uid"]
        name = name or "-"
        click.echo(f"{name}  {entry['status']}" + (f": {entry['reason']}" if entry["reason"] else ""))
        for destination, delivery in entry["deliveries"].items():
            reason = f": {delivery['reason']}" if delivery["reason"] else ""
            click.echo(f"  {destination}: {delivery['status']}, {len(delivery['delivered'])} objects{reason}")
        if in_full:
            click.echo(f"  study {entry['study_instance_uid']}, {entry['images']} images, {entry['slices']} slices")
            click.echo(f"  echo times (ms) {', '.join(f'{t:g}' for t in entry['echo_times_ms'])}")
            for name in ("missing", "left_out"):
                for what in entry.get(name, ()):
                    click.echo(f"  {name.replace('_', ' ')}: {what}")
    if not entries:
        click.echo("nothing yet")
