"""HTTP triggers behave as Azure Functions does, above all where naive hosts do not."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from local.functions_host.host import HostOptions
from tests.contract.functions_host.running_host import EVENT_GRID, GUARDED, HOST, MASTER, RunningHost, StartHost


def together(host: RunningHost, path: str, times: int) -> list[int]:
    """The status codes of that many requests sent at once."""
    with ThreadPoolExecutor(times) as callers:
        return list(callers.map(lambda _: requests.get(f"{host.url}/api/{path}", timeout=20).status_code, range(times)))


def test_route_parameters_headers_body_and_context_arrive(host: RunningHost) -> None:
    seen = host.post("echo/pump/7?x=1", data=b"hello", headers={"X-Trace-Me": "Yes"}).json()
    assert seen["method"] == "POST"
    assert seen["url"] == f"{host.url}/api/echo/pump/7?x=1"
    assert seen["route"] == {"kind": "pump", "number": "7"}
    assert seen["body"] == "hello"
    assert seen["headers"]["x-trace-me"] == "Yes"
    assert seen["function"] == "echo"


def test_header_names_are_lower_cased(host: RunningHost) -> None:
    assert all(name == name.lower() for name in host.get("echo/pump", headers={"X-MIXED-Case": "v"}).json()["headers"])


def test_repeated_query_keys_are_joined_and_empty_values_dropped(host: RunningHost) -> None:
    assert host.get("echo/pump?a=1&A=2&b=&c=%20z&d").json()["params"] == {"a": "1,2", "c": " z"}


def test_an_optional_parameter_may_be_absent_and_a_constraint_must_hold(host: RunningHost) -> None:
    assert host.get("echo/pump").json()["route"] == {"kind": "pump"}
    assert host.get("echo/pump/seven").status_code == 404


def test_a_catch_all_takes_the_rest_of_the_path_and_keeps_encoded_slashes(host: RunningHost) -> None:
    assert host.get("files/a/b%2Fc/d.txt").json() == {"path": "a/b%2Fc/d.txt"}
    assert host.get("files").json() == {}


def test_encoded_dots_cannot_climb_out_of_a_route(host: RunningHost) -> None:
    request = requests.Request("GET", f"{host.url}/").prepare()
    request.url = f"{host.url}/api/files/%2e%2e/guarded"
    assert host.http.send(request, timeout=20).status_code == 401


def test_a_wrong_method_is_not_found(host: RunningHost) -> None:
    assert host.get("only/post").status_code == 404
    assert host.http.put(f"{host.url}/api/only/post", timeout=20).status_code == 404
    answer = host.post("only/post", data=b"\x00\xff")
    assert (answer.status_code, answer.content, answer.headers["x-kind"]) == (201, b"\x00\xff", "posted")


def test_the_route_prefix_is_part_of_the_address(host: RunningHost) -> None:
    assert host.http.get(f"{host.url}/echo/pump", timeout=20).status_code == 404


@pytest.mark.parametrize("what", ["none", "dict"])
def test_an_answer_that_is_no_response_fails(host: RunningHost, what: str) -> None:
    answer = host.get(f"returns/{what}")
    assert (answer.status_code, answer.content) == (500, b"")


def test_a_plain_text_answer_is_taken(host: RunningHost) -> None:
    answer = host.get("returns/text")
    assert (answer.text, answer.headers["content-type"]) == ("plain words", "text/plain; charset=utf-8")


def test_an_exception_is_logged_and_not_shown(host: RunningHost, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = host.get("returns/error")
    assert (answer.status_code, answer.content) == (500, b"")
    assert "secret detail" in caplog.text
    assert "Executed 'Functions.returns' (Failed, Id=" in caplog.text


def test_a_function_cannot_end_the_host(host: RunningHost) -> None:
    assert host.get("returns/exit").status_code == 500
    assert host.get("returns/text").status_code == 200


def test_cookies_and_configured_headers_are_sent(host: RunningHost) -> None:
    answer = host.get("returns/cookies")
    assert answer.headers["set-cookie"] == "a=1; Path=/"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("key", "guarded", "other", "master"),
    [
        (None, 401, 401, 401),
        ("wrong", 401, 401, 401),
        (GUARDED, 200, 401, 401),
        (HOST, 200, 200, 401),
        (EVENT_GRID, 401, 401, 401),
        (MASTER, 200, 200, 200),
    ],
)
def test_key_levels_match_exactly_and_the_master_key_opens_all(
    host: RunningHost, key: str | None, guarded: int, other: int, master: int
) -> None:
    for path, expected in (("guarded", guarded), ("other/guarded", other), ("master", master)):
        assert host.get(path, headers={"x-functions-key": key}).status_code == expected
        assert host.get(path, params={"code": key}).status_code == expected


def test_a_key_in_the_header_wins_over_the_query(host: RunningHost) -> None:
    assert host.get("guarded?code=wrong", headers={"x-functions-key": HOST}).status_code == 200
    assert host.get(f"guarded?code={HOST}", headers={"x-functions-key": "wrong"}).status_code == 401


@pytest.mark.parametrize("path", ["slow/2600", "slow/async/9000"])
def test_a_run_beyond_the_function_timeout_is_reported_as_failed(host: RunningHost, path: str) -> None:
    started = time.monotonic()
    assert host.get(path).status_code == 500
    assert time.monotonic() - started > 1.9


def test_a_body_over_the_limit_is_refused(start_host: StartHost, settings: dict[str, str]) -> None:
    host = start_host({**settings, "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "10"}, HostOptions(listen=False))
    assert host.post("only/post", data=b"0123456789").status_code == 201
    assert host.post("only/post", data=b"0123456789x").status_code == 413
    assert host.post("only/post", data=iter([b"01234", b"56789x"])).status_code == 413


def test_requests_beyond_the_outstanding_limit_are_turned_away(start_host: StartHost, settings: dict[str, str]) -> None:
    limits = {"maxConcurrentRequests": "1", "maxOutstandingRequests": "2"}
    overrides = {f"AzureFunctionsJobHost__extensions__http__{name}": value for name, value in limits.items()}
    host = start_host({**settings, **overrides}, HostOptions(listen=False))
    assert sorted(together(host, "slow/300", 4)) == [200, 200, 429, 429]
    first, second = (note["at"] for note in host.notes("slow"))
    assert abs(second - first) >= 0.29


def test_synchronous_functions_run_side_by_side(host: RunningHost) -> None:
    started = time.monotonic()
    assert together(host, "slow/400", 8) == [200] * 8
    assert time.monotonic() - started < 3, "one after the other they take 3.2 seconds"


def test_stopping_lets_a_running_request_finish(start_host: StartHost, settings: dict[str, str]) -> None:
    host = start_host(settings, HostOptions(listen=False, grace_seconds=5))
    with ThreadPoolExecutor(1) as caller:
        answer = caller.submit(requests.get, f"{host.url}/api/slow/700", timeout=20)
        host.wait_for("slow")
        host.server.stop()
        assert answer.result().status_code == 200


def test_administration_needs_the_master_key(host: RunningHost) -> None:
    for method, path in (("GET", "host/status"), ("GET", "functions"), ("POST", "functions/tick")):
        for key, expected in ((None, 401), (HOST, 401), (EVENT_GRID, 401)):
            answer = host.http.request(method, f"{host.url}/admin/{path}", headers={"x-functions-key": key}, timeout=20)
            assert answer.status_code == expected
    status = host.http.get(f"{host.url}/admin/host/status", headers={"x-functions-key": MASTER}, timeout=20).json()
    assert (status["state"], status["id"]) == ("Running", host.host.host_id)


def test_any_function_can_be_run_by_name(host: RunningHost) -> None:
    assert host.run_by_hand("unheard_of").status_code == 404
    assert (
        host.http.post(
            f"{host.url}/admin/functions/tick", data="[]", headers={"x-functions-key": MASTER}, timeout=20
        ).status_code
        == 400
    )
    assert host.run_by_hand("Hourly").status_code == 202
    assert host.wait_for("hourly")[0]["past_due"] is False
    assert host.run_by_hand("work", "by hand").status_code == 202
    assert host.wait_for("work")[0]["body"] == "by hand"
