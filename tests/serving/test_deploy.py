"""What is shipped to deploy with: complete, consistent, and about metrics that exist."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import tomllib

from cartwheel.config import RunSettings

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "serving" / "deploy"
PLAIN = sorted(path for path in DEPLOY.rglob("*.y*ml") if "templates" not in path.parts)


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.relative_to(DEPLOY).as_posix())
def test_yaml_is_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def test_the_package_ships_every_file() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["serving"]
    for path in DEPLOY.rglob("*"):
        name = path.relative_to(ROOT / "serving").as_posix()
        assert path.is_dir() or any(fnmatch(name, pattern) for pattern in patterns), name


def test_what_the_image_copies_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert names
    assert all((ROOT / name).exists() for name in names), names
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in found} <= set(names), "every package is copied"


def test_compose_mounts_files_that_are_there() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(compose["services"]) == {"gateway", "triton", "redis", "prometheus", "grafana"}
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./") and source != "./keys.json":  # which its owner makes
                assert (DEPLOY / source).exists(), source
    assert "ports" not in compose["services"]["triton"], "only the gateway reaches Triton"
    assert compose["services"]["triton"]["networks"] == ["inside"]
    assert compose["networks"]["inside"]["internal"] is True


def test_the_gateway_s_configuration_is_one() -> None:
    content = tomllib.loads((DEPLOY / "gateway.toml").read_text())
    settings = RunSettings.model_validate(content)
    assert settings.serve.keys_file is not None
    assert settings.serve.store.startswith("redis://")


def test_the_chart_names_values_that_there_are() -> None:
    values = yaml.safe_load((DEPLOY / "helm" / "values.yaml").read_text())
    kinds = []
    for path in (DEPLOY / "helm" / "templates").glob("*.yaml"):
        text = path.read_text()
        kinds.append(re.search(r"^kind: (\w+)$", text, re.MULTILINE)[1])  # type: ignore[index]
        for name in re.findall(r"\.Values\.([\w.]+)", text):
            found = values
            for part in name.split("."):
                assert part in found, f"{path.name} reads {name}"
                found = found[part]
    assert sorted(kinds) == ["ConfigMap", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "Service"]


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating"} <= set(dashboard)
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
    [variable] = dashboard["templating"]["list"]
    assert variable["type"] == "datasource"
    for panel in dashboard["panels"]:
        assert panel["title"]
        assert panel["datasource"]["uid"] == f"${{{variable['name']}}}", "it asks for the data source"
        assert {"x", "y", "w", "h"} == set(panel["gridPos"])
