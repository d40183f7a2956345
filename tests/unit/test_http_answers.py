"""What goes wrong becomes the right answer: status, headers, and no word that is not meant for callers."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import azure.functions as func
import pytest

from functions.http import NotFound, TooLarge, answers_problems
from shared.errors import Conflict, Invalid, Permanent, Transient
from shared.identity import NotPermitted, NotSignedIn
from shared.settings import SettingsError

ROOT = Path(__file__).resolve().parents[2]
SECRET = "AccountKey=storage-secret"


def asked(error: BaseException | None = None) -> func.HttpResponse:
    """The answer of a trigger that ends so."""

    @answers_problems
    def trigger(req: func.HttpRequest) -> func.HttpResponse:
        if error:
            raise error
        return func.HttpResponse("fine")

    return trigger(func.HttpRequest("GET", "http://app.example/api/releases?code=the-key", body=b""))


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (NotSignedIn("sign in first", "Bearer"), 401, "sign in first"),
        (NotPermitted("sam is in none of the groups"), 403, "sam is in none of the groups"),
        (NotFound("there is no release 'x'"), 404, "there is no release 'x'"),
        (TooLarge("at most 10 bytes"), 413, "at most 10 bytes"),
        (Invalid("size", "is 0", "1 to 200"), 400, "size: is 0 (allowed: 1 to 200)"),
        (Transient(f"{SECRET} does not answer"), 503, "does not answer now"),
        (SettingsError(f"FLEET_STORAGE={SECRET}"), 503, "settings are not complete"),
        (Permanent(f"{SECRET} refused"), 500, "Trying again does not help"),
        (Conflict(f"{SECRET} changed"), 500, "The error is in the log"),
        (RuntimeError(SECRET), 500, "The error is in the log"),
        (AssertionError(SECRET), 500, "The error is in the log"),
        (RecursionError(SECRET), 500, "The error is in the log"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_is_a_problem_that_tells_callers_what_is_meant_for_them(
    error: Exception, status: int, told: str
) -> None:
    answer = asked(error)
    content = json.loads(answer.get_body())
    assert (answer.status_code, content["status"], answer.mimetype) == (status, status, "application/problem+json")
    assert told in content["detail"]
    assert "secret" not in answer.get_body().decode()


def test_what_is_wrong_is_named_by_field_for_programs_too() -> None:
    content = json.loads(asked(Invalid("size", "is 0", "1 to 200")).get_body())
    assert (content["field"], content["allowed"]) == ("size", "1 to 200")


def test_who_must_sign_in_and_who_must_wait_is_told_in_the_headers() -> None:
    assert asked(NotSignedIn("no", "Bearer")).headers["WWW-Authenticate"] == "Bearer"
    assert asked(NotSignedIn("no")).headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert asked(Transient("busy")).headers["Retry-After"] == "5"
    assert asked(Transient("busy", retry_after=0.2)).headers["Retry-After"] == "1"


@pytest.mark.parametrize("error", [Transient("x"), SettingsError("x"), Permanent("x"), RuntimeError("x")])
def test_the_log_has_the_error_and_no_key_of_the_caller(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fleet.http"):
        asked(error)
    (record,) = caplog.records
    assert "GET http://app.example/api/releases" in record.getMessage() and "the-key" not in caplog.text


def test_an_answer_that_is_right_is_left_as_it_is() -> None:
    assert (asked().status_code, asked().get_body()) == (200, b"fine")


def test_without_settings_the_app_says_that_it_is_not_configured_and_its_log_says_what_is_missing() -> None:
    code = """
import logging, azure.functions as func
logging.basicConfig()
from function_app import app
health = next(f for f in app.get_functions() if f.get_function_name() == "health").get_user_function()
answer = health(func.HttpRequest("GET", "http://app/api/health", body=b""))
print(answer.status_code, answer.get_body().decode())
"""
    bare = {name: text for name, text in os.environ.items() if not name.startswith(("FLEET", "TOKEN", "TOPIC"))}
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=bare, capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.startswith("503 ") and "TOKEN_ISSUER" not in said.stdout
    assert "TOKEN_ISSUER is missing" in said.stderr
