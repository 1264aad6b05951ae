"""What dashboard and alerts ask for is exported by a server that runs; each alert fires and clears."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.requirements import skip_or_fail
from tests.service.conftest import running_server

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "docker/prometheus"
OF_PROMETHEUS = {"up"}
RULES = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"][0]["rules"]


def expressions():
    dashboard = json.loads((ROOT / "docker/grafana/dashboards/geminifusion.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    scaled = yaml.safe_load((ROOT / "kubernetes/overlays/keda/scaled-object.yaml").read_text())
    asked += [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    return asked + [rule["expr"] for rule in RULES]


def names_in(expression):
    """The metrics of an expression: words that are no function, keyword, label or string."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"|\b(?:by|without)\s*\([^)]*\)', " ", expression)
    return set(re.findall(r"\b[a-z_]+\b(?!\s*\()", bare)) - {"or", "and", "unless"}


def test_every_metric_of_dashboard_alerts_and_scaling_is_exported_by_a_running_server(tiny_artifact, pair, tmp_path):
    # With a repository, whose gauge is exported for itself alone.
    with running_server(tiny_artifact, model_repository=str(tmp_path)) as live:
        assert live.post(pair.files()).is_success
        text = live.get("/metrics").text
    exported = set(re.findall(r"^(\w+?)(?:\{[^\n]*\})? [^\n]+$", text, re.MULTILINE))
    exported |= set(
        re.findall(r"^# TYPE (\w+) (?:counter|gauge)", text, re.MULTILINE)
    )  # that have a label and no value yet
    asked = set().union(*map(names_in, expressions()))
    assert len(asked) > 10
    assert asked - exported - OF_PROMETHEUS == set()


def test_every_alert_is_seen_to_fire_and_to_clear():
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    assert [test["name"] for test in tests] == [rule["alert"] for rule in RULES]
    for test in tests:
        assert [bool(case["exp_alerts"]) for case in test["alert_rule_test"]] == [False, True, False]


@pytest.mark.parametrize("command", ["check rules rules.yml", "test rules rules_test.yml"])
def test_promtool_finds_nothing(command):
    program = shutil.which("promtool")
    if program is None:
        skip_or_fail("needs promtool, of Debian's package prometheus")
    done = subprocess.run([program, *command.split()], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_looks_for_services_of_the_compose_file():
    services = set(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    (scraped,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert set(scraped["names"]) <= services
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["alertmanager:9093"]
    datasource = (ROOT / "docker/grafana/provisioning/datasource.yml").read_text()
    assert "http://prometheus:9090" in datasource
