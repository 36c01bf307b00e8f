"""Alerts and dashboard ask for metrics that there are, and Prometheus understands both."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dicomnode import config
from dicomnode.store.spool import Spool
from dicomnode.web.metrics import COUNTERS, Metrics
from dicomnode.web.shelf import Shelf
from dicomnode.web.tally import Tally

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "alerts.yml"
MANUAL = DEPLOY.parent / "docs" / "operations.md"


@pytest.fixture
def text(tmp_path):
    """The metrics of a node to which all has happened once."""
    (tmp_path / "config.toml").write_text(
        '[[scanner]]\nae_title = "MR1"\n'
        '[[destination]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = 104\n'
    )
    settings = config.load(tmp_path / "config.toml")
    spool = Spool(settings.storage_folder())
    spool.create()
    metrics = Metrics(settings, Shelf(settings, spool))
    for name, (_, labels) in COUNTERS.items():
        metrics.count(Tally(name, tuple("x" for _ in labels)))
    metrics.count(Tally("step_seconds", ("fit",), 1.0))
    return metrics.text().decode()


def asked_for():
    """Every metric that an alert or a panel asks for."""
    rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return {name for expression in rules + panels for name in re.findall(r"dicomnode_\w+", expression)}


def test_what_alerts_and_dashboard_ask_for_is_there(text):
    known = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked_for()}
    assert plain <= known | {"dicomnode_disk_days_left"}  # which needs some studies


def test_every_alert_is_explained_to_who_gets_it():
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert f"`{rule['alert']}`" in MANUAL.read_text(), rule["alert"]


@pytest.mark.peer
def test_prometheus_understands_the_alerts(peer):
    done = subprocess.run(
        [peer("promtool"), "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.peer
def test_prometheus_understands_the_metrics_and_finds_nothing_unusual(peer, text):
    done = subprocess.run(
        [peer("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
