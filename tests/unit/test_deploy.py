"""The dashboard and the alert rules name metrics that there are, with labels that they have."""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from penstock.query.web.metrics import CATALOGUE
from tests.installed import ROOT

DEPLOY = ROOT / "deploy"
PANELS = {
    "Workers", "Ready", "Lag", "Falling behind", "Retention headroom", "Failed records",
    "Input rate", "Output rate", "Latency", "Watermark lag", "Records that come to nothing",
    "Batch duration", "Time by phase", "Batches", "Rows", "Size", "Restoring", "Tasks",
    "Rebalances and restarts", "Silence of the loop", "Processor", "Memory",
}  # fmt: skip
ALERTS = {
    "PenstockDoesNotRun", "PenstockWorkerGone", "PenstockRestartsAgainAndAgain",
    "PenstockNotReady", "PenstockLoopStandsStill", "PenstockFallsBehind",
    "PenstockRetentionIsNear", "PenstockRecordsFail", "PenstockRecordsAreLate",
    "PenstockStateGrows",
}  # fmt: skip
OF_PROMETHEUS = {"up"}
TARGET = {"job", "instance"}  # labels that Prometheus gives to all that it reads
WORDS = {
    *("sum", "min", "max", "count", "absent", "increase", "rate", "histogram_quantile"),
    *("by", "on", "group_left", "and", "offset", "e9"),
}
SUFFIXES = {"_bucket": "le", "_sum": None, "_count": None}


def yaml(name: str) -> Any:
    return YAML(typ="safe").load(DEPLOY / name)


def panels() -> list[dict[str, Any]]:
    return cast(
        "list[dict[str, Any]]",
        json.loads((DEPLOY / "grafana/dashboards/penstock.json").read_text())["panels"],
    )


def rules() -> list[dict[str, Any]]:
    return [
        rule for group in yaml("prometheus/penstock.rules.yml")["groups"] for rule in group["rules"]
    ]


def expressions() -> Iterator[tuple[str, str]]:
    for panel in panels():
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", ()))
    yield from ((rule["alert"], rule["expr"]) for rule in rules())


def metric(name: str) -> tuple[str, set[str]]:
    """The metric of the catalogue that a name is one of, with the labels that it has besides."""
    for suffix, label in SUFFIXES.items():
        of = name.removesuffix(suffix)
        if of != name and of in CATALOGUE and CATALOGUE[of].kind == "histogram":  # type: ignore[index]
            return of, {label} if label else set()
    return name, set()


def faults(expression: str) -> list[str]:
    """What is wrong with an expression: metrics, labels, words and brackets that are not right."""
    found = [] if balanced(expression) else ["its brackets do not match"]
    bare = re.sub(r'"[^"]*"', '""', expression)
    braces = " ".join(re.findall(r"\{([^}]*)\}", bare))
    selected = set(re.findall(r"(\w+)\s*(?:=~?|!=|!~)", braces))
    listed = re.findall(r"(?:by|on|group_left)\s*\(([^)]*)\)", bare)
    grouped = {label for group in listed for label in re.findall(r"\w+", group)}
    rest = re.sub(r"\[[^]]*\]|\{[^}]*\}|offset \d+[smhd]", " ", bare)
    rest = re.sub(r"(by|on|group_left)\s*\([^)]*\)", r"\1", rest)
    labels = set(TARGET)
    for name in set(re.findall(r"[a-zA-Z_]\w*", rest)) - WORDS:
        of, more = metric(name)
        if of in CATALOGUE:
            labels |= {*CATALOGUE[of].labels, *more}  # type: ignore[index]
        elif name not in OF_PROMETHEUS:
            found.append(f"there is no metric {name}")
    return found + [
        f"no metric of it has the label {label}" for label in (selected | grouped) - labels
    ]


def balanced(expression: str) -> bool:
    stack: list[str] = []
    for c in re.sub(r'"[^"]*"', "", expression):
        if c in "([{":
            stack.append(c)
        elif c in ")]}" and (not stack or stack.pop() + c not in ("()", "[]", "{}")):
            return False
    return not stack


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_every_metric_is_in_the_catalogue(name: str, expression: str) -> None:
    assert faults(expression) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "rate(penstock_recs_in_total[5m])",
        "sum by (topik) (penstock_lag_records)",
        'penstock_lag_records{store="x"}',
        "sum(penstock_lag_records",
        "summ(penstock_lag_records)",
        "penstock_latency_seconds_bucket",
    ],
)
def test_an_expression_that_is_wrong_is_noticed(wrong: str) -> None:
    assert len(faults(wrong)) == 1


def test_counters_are_only_looked_at_as_rates() -> None:
    """A counter begins anew with its worker: its value says nothing."""
    for name, expression in expressions():
        for counter in re.findall(r"penstock_\w+_total", expression):
            assert re.search(rf"(rate|increase)\({counter}\[", expression), (name, counter)


def test_the_dashboard_has_its_panels() -> None:
    found = panels()
    shown = [panel for panel in found if panel["type"] != "row"]
    assert {panel["title"] for panel in shown} == PANELS
    assert len({panel["id"] for panel in found}) == len(found)
    for panel in shown:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert [t["refId"] for t in panel["targets"]] == list("ABCDE")[: len(panel["targets"])]
        assert panel["datasource"]["uid"] == "${datasource}"
    cells = [
        (x, y)
        for panel in found
        for grid in [panel["gridPos"]]
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(set(cells)) == len(cells), "panels cover each other"
    assert max(x for x, _ in cells) < 24


def test_the_dashboard_chooses_among_what_there_is() -> None:
    dashboard = json.loads((DEPLOY / "grafana/dashboards/penstock.json").read_text())
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", "job", "application"]
    assert "application" in CATALOGUE["penstock_info"].labels
    assert set(re.findall(r"\$(\w+)", json.dumps(panels()))) <= {*names, "__rate_interval"}


def test_each_rule_is_whole() -> None:
    found = rules()
    assert {rule["alert"] for rule in found} == ALERTS
    assert len(found) == len(ALERTS)
    for rule in found:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))
        for text in rule["annotations"].values():
            used = set(re.findall(r"\{\{ \$labels\.(\w+) \}\}", text))
            of = {label for name in re.findall(r"\w+", rule["expr"]) if name in CATALOGUE for label in CATALOGUE[name].labels}  # type: ignore[index]  # fmt: skip
            assert used <= of | TARGET, rule["alert"]


def test_what_is_mounted_is_there() -> None:
    """Compose, Prometheus and Grafana find each other's files and services."""
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    services = compose["services"]
    for name in ("prometheus", "grafana"):
        for volume in services[name]["volumes"]:
            source = volume.split(":")[0]
            assert (
                (ROOT / source).exists()
                if source.startswith("./")
                else source in compose["volumes"]
            )
    prometheus = yaml("prometheus/prometheus.yml")
    (scrape,) = prometheus["scrape_configs"]
    assert (
        scrape["authorization"]["credentials_file"]
        == services["prometheus"]["configs"][0]["target"]
    )
    (found,) = scrape["dns_sd_configs"]
    assert set(found["names"]) <= set(services)
    environment = services["worker"]["environment"]
    assert environment["PENSTOCK_HTTP"].endswith(f":{found['port']}")
    assert environment["PENSTOCK_HTTP_TOKEN"] == compose["configs"]["token"]["content"]
    (rule_file,) = prometheus["rule_files"]
    assert (DEPLOY / "prometheus" / rule_file.rsplit("/", 1)[1]).exists()
    (source,) = yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert re.fullmatch(r"http://(\w+):9090", source["url"])[1] in services  # type: ignore[index]
    (provider,) = yaml("grafana/provisioning/dashboards/penstock.yml")["providers"]
    mounted = [volume.split(":")[1] for volume in services["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted
