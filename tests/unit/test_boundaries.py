"""The boundaries of the house, read from the source: who may import what, and where time and environment come from."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOMAIN = sorted((ROOT / "shared" / "domain").glob("*.py"))
CORE = sorted(path for path in (ROOT / "shared").glob("*.py") if path.name != "wiring.py")
TRIGGERS = sorted((ROOT / "functions").rglob("*.py"))
ALLOWED_IN_DOMAIN = {
    "__future__",
    "abc",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "hashlib",
    "json",
    "math",
    "pydantic",
    "re",
    "shared",
    "statistics",
    "typing",
}
SDKS = {"azure", "mlflow", "deltalake", "requests", "httpx", "pyarrow", "sklearn", "pandas", "polars"}
HEAVY = ("mlflow", "sklearn", "azure.ai.ml", "pyarrow", "deltalake", "pandas", "polars")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    """Every dotted name that a file calls or reads."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Attribute, ast.Name)):
            yield ast.unparse(node)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", DOMAIN, ids=named)
def test_the_domain_knows_only_the_standard_library_and_pydantic(path: Path) -> None:
    assert {module.partition(".")[0] for module in imports(path)} <= ALLOWED_IN_DOMAIN
    outside = [m for m in imports(path) if m.startswith("shared.") and not m.startswith("shared.domain")]
    assert not outside


@pytest.mark.parametrize("path", DOMAIN, ids=named)
def test_the_domain_asks_no_clock_no_environment_and_no_chance(path: Path) -> None:
    asked = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "open", "print", "input"}
    assert not asked & set(calls(path))


@pytest.mark.parametrize("path", CORE, ids=named)
def test_only_the_wiring_chooses_adapters(path: Path) -> None:
    assert not [module for module in imports(path) if module.startswith("shared.adapters")]
    assert not [module for module in imports(path) if module.split(".")[0] in {"local", "functions"}]


@pytest.mark.parametrize("path", CORE, ids=named)
def test_only_the_clock_knows_the_time(path: Path) -> None:
    """A build command may sleep, since it runs where waiting is fine; nothing a function calls may."""
    asked = {"datetime.now", "datetime.utcnow", "time.time", "time.sleep"} & set(calls(path))
    assert asked <= {"clock.py": {"datetime.now"}, "training_build.py": {"time.sleep"}}.get(path.name, set())


@pytest.mark.parametrize("path", TRIGGERS, ids=named)
def test_triggers_import_no_adapter_and_no_client(path: Path) -> None:
    modules = list(imports(path))
    assert not [module for module in modules if module.startswith("shared.adapters")]
    clients = [m for m in modules if m.split(".")[0] in SDKS and not m.startswith("azure.functions")]
    assert not [module for module in clients if module != "azure"]


def test_there_is_something_to_look_at() -> None:
    assert DOMAIN and CORE and TRIGGERS


@pytest.mark.parametrize("module", ["shared.application", "shared.wiring", "function_app"])
def test_the_function_app_starts_without_the_heavy_libraries(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []
