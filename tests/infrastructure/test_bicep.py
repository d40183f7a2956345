"""What reads the Bicep files finds what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure import arm_types
from tests.infrastructure.bicep import BicepError, evaluate
from tests.infrastructure.estates import INFRA

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/here"
VAULT = """
resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: 'westeurope'
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
  }
}
"""


def deployed(folder: Path, text: str, **parameters: Any) -> Any:
    (folder / "main.bicep").write_text(text)
    return evaluate(folder / "main.bicep", parameters, GROUP)


def test_what_is_written_is_worked_out(tmp_path: Path) -> None:
    text = f"""
@maxLength(5)
param name string
param many array = []
var both = union({{
  a: 1
}}, empty(many) ? {{}} : {{
  b: '${{name}} of ${{length}}'
}})
var length = 'some'
{VAULT}
resource secrets 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = [for (one, index) in many: if (one != 'none') {{
  parent: vault
  name: '${{one}}-${{index}}'
  properties: {{}}
}}]
output both object = both
output uri string = vault.properties.vaultUri
"""
    found = deployed(tmp_path, text, name="kv", many=["x", "none", "y"])
    assert found.outputs == {"both": {"a": 1, "b": "kv of some"}, "uri": "https://kv.vault.azure.net/"}
    assert [each.name for each in found.of_type("Microsoft.KeyVault/vaults/secrets")] == ["kv/x-0", "kv/y-2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("param name string\n" + VAULT, "parameter name is not given"),
        ("param name string = 1\n" + VAULT, "parameter name is 1, not of type string"),
        ("@allowed([\n  'a'\n])\nparam name string = 'b'\n" + VAULT, r"parameter name is 'b', against allowed"),
        ("var name = nobody\n" + VAULT, "nothing is called nobody"),
        ("var name = true ? 'a' : nobody\n" + VAULT, "nothing is called nobody"),
        ("var name = 'a'\nvar spare = 1\n" + VAULT, "spare: declared and never used"),
        ("var name = other\nvar other = name\n" + VAULT, "name -> other -> name: a cycle"),
        ("var name = 'a'\nvar name = 'b'\n" + VAULT, "name is declared twice"),
        ("var name = fresh('a')\n" + VAULT, "function fresh is not known"),
        ("var name = {\n  a: 1\n}.b\n" + VAULT, "there is no 'b'"),
        ("var name = 'a'\n" + VAULT + "output x int = vault.name\n", "output x is 'a', not of type int"),
        ("var name = 'a\n" + VAULT, "syntax error"),
        (
            "var name = 'a'\n"
            + VAULT
            + "resource b 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {\n  name: 'b'\n  properties: {}\n}\n",
            "needs a parent",
        ),
        ("module m 'other.bicep' = {\n  name: 'm'\n}\n", "there is no module other.bicep"),
        ("targetScope = 'subscription'\n", "is deployed to a subscription"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BicepError, match=said) as refused:
        deployed(tmp_path, text)
    assert "main.bicep" in str(refused.value)


@pytest.mark.parametrize(
    ("params", "used", "said"),
    [
        ("a: 'x'", "m.outputs.b", None),
        ("a: 'x'", "m.outputs.c", "there is no 'c'"),
        ("a: 1", "m.outputs.b", "parameter a is 1, not of type string"),
        ("b: 'x'", "m.outputs.b", "parameter a is not given"),
        ("a: 'x'\n    c: 'y'", "m.outputs.b", "has no parameter c"),
    ],
)
def test_modules_are_given_what_they_take_and_asked_what_they_tell(
    tmp_path: Path, params: str, used: str, said: str | None
) -> None:
    (tmp_path / "inner.bicep").write_text("param a string\noutput b string = '${a}!'\n")
    text = f"module m 'inner.bicep' = {{\n  name: 'm'\n  params: {{\n    {params}\n  }}\n}}\noutput o string = {used}\n"
    if said is None:
        assert deployed(tmp_path, text).outputs == {"o": "x!"}
        return
    with pytest.raises(BicepError, match=said):
        deployed(tmp_path, text)


def test_a_name_that_only_a_deployment_knows_is_refused(tmp_path: Path) -> None:
    text = (
        "var name = 'a'\n" + VAULT + "resource b 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {\n"
        "  parent: vault\n  name: vault.properties.privateEndpointConnections\n  properties: {}\n}\n"
    )
    with pytest.raises(BicepError, match="known only after something was deployed"):
        deployed(tmp_path, text)


@pytest.mark.skipif(not arm_types.TYPES.is_dir(), reason="REFERENCE_DIR holds no Bicep types")
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("family: 'A'", "family: 'B'", "family is 'B'"),
        ("      family: 'A'\n", "", "properties.sku.family is missing"),
        ("tenantId: tenant().tenantId", "tenant: tenant().tenantId", "properties.tenant is unknown"),
        ("location: 'westeurope'", "location: true", "location is True, not of type StringType"),
        ("name: 'standard'\n    }", "name: 'standard'\n    }\n    hsmPoolResourceId: 'x'", "is read-only"),
    ],
)
def test_what_microsofts_types_do_not_allow_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in VAULT
    (vault,) = deployed(tmp_path, "var name = 'a-vault'\n" + VAULT.replace(old, new)).resources
    assert [problem for problem in arm_types.problems(vault) or () if said in problem]


def test_every_bicep_file_is_deployed_by_main_or_events() -> None:
    named = {
        (file.parent / line.split("'")[1]).resolve()
        for file in INFRA.rglob("*.bicep")
        for line in file.read_text().splitlines()
        if line.startswith("module ")
    }
    there = {file.resolve() for file in INFRA.rglob("*.bicep")}
    assert there - named == {INFRA / "main.bicep", INFRA / "events.bicep"}
