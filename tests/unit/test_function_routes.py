"""Route templates: constraints, precedence, optional and catch-all parameters, and encoded paths."""

from __future__ import annotations

import pytest

from local.functions_host.routes import BadRoute, Router, RouteTemplate, path_segments

GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("template", "path", "values"),
    [
        ("a/b", "/A/b/", {}),
        ("a/{id}", "/a/x%20y", {"id": "x y"}),
        ("a/{id}", "/a", None),
        ("a/{id}", "/a/b/c", None),
        ("a/{id?}", "/a", {}),
        ("a/{id=7}", "/a", {"id": "7"}),
        ("a/{id:int}", "/a/-12", {"id": "-12"}),
        ("a/{id:int}", "/a/2147483648", None),
        ("a/{id:long}", "/a/2147483648", {"id": "2147483648"}),
        ("a/{id:int?}", "/a", {}),
        ("a/{on:bool}", "/a/True", {"on": "True"}),
        ("a/{on:bool}", "/a/yes", None),
        ("a/{id:guid}", f"/a/{GUID}", {"id": GUID}),
        ("a/{id:guid}", "/a/1", None),
        ("a/{n:alpha}", "/a/abc", {"n": "abc"}),
        ("a/{n:alpha}", "/a/ab1", None),
        ("a/{n:length(2,3)}", "/a/abcd", None),
        ("a/{n:length(4)}", "/a/abcd", {"n": "abcd"}),
        ("a/{n:minlength(2):maxlength(3)}", "/a/abc", {"n": "abc"}),
        ("a/{n:range(1,5)}", "/a/6", None),
        ("a/{n:min(3)}", "/a/3", {"n": "3"}),
        ("a/{n:max(3)}", "/a/4", None),
        ("a/{day:datetime}", "/a/2026-01-02", {"day": "2026-01-02"}),
        ("a/{day:datetime}", "/a/soon", None),
        ("a/{n:double}", "/a/1.5", {"n": "1.5"}),
        (r"a/{d:regex(^\d{{4}}$)}", "/a/2026", {"d": "2026"}),
        (r"a/{d:regex(^\d{{4}}$)}", "/a/20261", None),
        ("a/{x}-{y}", "/a/1-2", {"x": "1", "y": "2"}),
        ("a/{*rest}", "/a/b/c", {"rest": "b/c"}),
        ("a/{**rest}", "/a/b%2Fc", {"rest": "b%2Fc"}),
        ("a/{*rest}", "/a", {}),
        ("{*rest}", "/", {}),
        ("", "/", {}),
    ],
)
def test_a_template_takes_the_path_or_not(template: str, path: str, values: dict[str, str] | None) -> None:
    assert RouteTemplate.parse(template).match(path_segments(path.encode())) == values


@pytest.mark.parametrize(
    "template",
    ["a/{x", "a/x}", "a/{}", "a/{x:unheard}", "a/{x:range(1)}", "a/{x:regex([)}", "{*a}/b", "a-{*rest}", "{x}/{X}"],
)
def test_a_template_azure_would_refuse_is_refused(template: str) -> None:
    with pytest.raises(BadRoute, match="Route"):
        RouteTemplate.parse(template)


def test_text_wins_over_constrained_over_free_parameters_and_catch_alls_come_last() -> None:
    templates = ["a/{*rest}", "{*rest}", "a/{id}", "a/{id:int}", "a/b"]
    router = Router([(RouteTemplate.parse(text), frozenset(), text) for text in templates])
    paths = {"/a/b": "a/b", "/a/1": "a/{id:int}", "/a/x": "a/{id}", "/a/x/y": "a/{*rest}", "/z": "{*rest}"}
    for path, template in paths.items():
        found = router.match("GET", path_segments(path.encode()))
        assert found is not None and found[0] == template


def test_a_method_that_no_route_takes_is_not_found() -> None:
    router = Router(
        [(RouteTemplate.parse("a"), frozenset({"GET"}), 1), (RouteTemplate.parse("a"), frozenset({"PUT"}), 2)]
    )
    assert [router.match(method, ["a"]) for method in ("GET", "PUT", "POST")] == [(1, {}), (2, {}), None]


def test_dot_segments_are_resolved_even_when_encoded() -> None:
    assert path_segments(b"/a/./b/../c//%2e%2e/d?x=/..") == ["a", "d"]
    assert path_segments(b"/../../a") == ["a"]
