"""Event Grid and the token issuer share one server thread and keep their state together."""

from __future__ import annotations

from pathlib import Path

import jwt
import pytest
import requests
from azure.core.credentials import AzureKeyCredential
from azure.eventgrid import EventGridEvent, EventGridPublisherClient

from local.issuer import LOCAL_ISSUER, BadPeopleFile
from local.services import LocalServices


@pytest.fixture
def people(tmp_path: Path) -> Path:
    file = tmp_path / "people.yml"
    file.write_text("- {username: ann, name: Ann, groups: [ML-Engineers]}")
    return file


def test_both_services_answer_on_one_port_and_remember(tmp_path: Path, people: Path, free_port: int) -> None:
    state = tmp_path / "state"
    with LocalServices(state, people, port=free_port) as services:
        topic = services.event_grid.create_topic("fleet")
        client = EventGridPublisherClient(services.event_grid.endpoint("fleet"), AzureKeyCredential(topic.key))
        client.send(EventGridEvent(subject="s", event_type="T", data={}, data_version="1"))
        token = requests.post(f"{services.url}/issuer/token", data={"username": "ann"}, timeout=5).json()[
            "access_token"
        ]
    with LocalServices(state, people, port=free_port) as services:
        assert services.event_grid.create_topic("fleet").key == topic.key
        key = jwt.PyJWKClient(services.issuer.keys_url).get_signing_key_from_jwt(token).key
        claims = jwt.decode(token, key, ["RS256"], audience=services.issuer.audience, issuer=LOCAL_ISSUER)
        assert claims["groups"] == ["ML-Engineers"]
        configuration = requests.get(f"{services.url}/issuer/.well-known/openid-configuration", timeout=5).json()
        assert configuration["jwks_uri"] == services.issuer.keys_url


def test_nothing_starts_with_a_wrong_file_of_people(tmp_path: Path) -> None:
    with pytest.raises(BadPeopleFile):
        LocalServices(tmp_path / "state", tmp_path / "nobody.yml")
