"""`fleet doctor`: what is wrong with a set-up, here or on Azure, and how to mend it. It changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request

import click

from cli.context import At, Command
from cli.screen import table
from scripts.fleet_api import LOOPBACK, ApiProblem, opener
from shared.configuration import ConfigurationError, load_fleet
from shared.domain.values import Channel
from shared.errors import FleetError
from shared.settings import AZURE, LOCAL, Settings, SettingsError
from shared.subscriptions import SUBSCRIPTIONS, Source

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".local" / "up"
PYTHONS = ((3, 11), (3, 12))
NODE = 20
MOST_SKEW_SECONDS = 60
LONG_QUEUE = 500
SECONDS = 10
KEY_VAULT = "@Microsoft.KeyVault("
STAND_IN = "vault=https://key-vault.invalid/read-by-the-host-alone"
"""What a reference to Key Vault is checked as: long enough for a secret, and a webhook's address too."""
RESOURCES = "https://management.azure.com"
WORKSPACE_VERSION, TOPIC_VERSION = {"api-version": "2024-04-01"}, {"api-version": "2022-06-15"}
DEVOPS_VERSION = {"api-version": "7.1"}

State = Literal["ok", "warning", "wrong", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: how it is, and how to mend it."""

    what: str
    state: State
    found: str
    mend: str = ""


@dataclass(frozen=True)
class SetUp:
    """What is examined: the app, the settings that it is said to have, and the configuration folder."""

    at: At
    settings: Mapping[str, str] | None
    config: Path

    @property
    def is_local(self) -> bool:
        return urlsplit(self.at.api.url).hostname in LOOPBACK


@click.command(cls=Command)
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The app's settings: as local.settings.json has them, or az functionapp config appsettings list.",
)
@click.option("--home", type=click.Path(path_type=Path), default=HOME, help="Where make up keeps its state.")
@click.option("--config", type=click.Path(path_type=Path), default=ROOT / "config", help="The configuration folder.")
@click.pass_obj
def doctor(at: At, settings: Path | None, home: Path, config: Path) -> int:
    """Examine a set-up, local or on Azure: say what is wrong and how to mend it. Changes nothing.

    On Azure give the app's settings, and sign in with az login: storage, topic, workspaces and DevOps are looked at
    with your rights, which may be more than the app's own.
    """
    try:
        known = read_settings(settings) if settings else _running(home)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--settings") from error
    findings = list(examine(SetUp(at, known, config)))
    wrong = sum(finding.state == "wrong" for finding in findings)
    rows = ((f.state, f.what, f.found, f.mend) for f in findings)
    verdict = f"{wrong} wrong" if wrong else "nothing is wrong"
    at.screen.show(
        {"wrong": wrong, "findings": [asdict(finding) for finding in findings]},
        table(f"{at.api.url}: {verdict}", ("", "what", "found", "mend"), rows),
    )
    return 1 if wrong else 0


def read_settings(file: Path) -> dict[str, str]:
    """Settings from a file in either form; raises ValueError."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if isinstance(content, dict):
        content = content.get("Values", content)
    if isinstance(content, list) and all(isinstance(each, dict) and "name" in each for each in content):
        content = {each["name"]: each.get("value") or "" for each in content}
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no settings: an object of names and values, or a list of name and value")
    return {str(name): str(value) for name, value in content.items()}


def _running(home: Path) -> dict[str, str] | None:
    """The settings of what runs in a folder, or of this very environment."""
    file = home / "environment.json"
    if file.is_file():
        return read_settings(file)
    return dict(os.environ) if "FLEET_MODE" in os.environ else None


def examine(set_up: SetUp) -> Iterator[Finding]:
    """Everything that can be looked at, in the order in which one thing needs another."""
    if set_up.is_local:
        yield _python()
        yield _node()
        yield _emulator()
    yield _configuration(set_up.config)
    yield from _app(set_up)
    if set_up.settings is None:
        yield Finding("settings", "not checked", "nobody said which", "give --settings FILE, or start make up")
        return
    readable = {name: STAND_IN if text.startswith(KEY_VAULT) else text for name, text in set_up.settings.items()}
    try:
        settings = Settings.read(readable)
    except SettingsError as error:
        yield Finding("settings", "wrong", str(error), "set them as docs/reference/settings.md says")
        return
    yield _mode(set_up, settings)
    yield _issuer(settings)
    yield from _storage(settings)
    if settings.mode == AZURE:
        yield from _azure(settings)
    else:
        yield _reached("embedded model platform", f"{settings.platform_endpoint}/health", settings.platform_key)


# --------------------------------------------------------------------------------------------------------- this machine


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in PYTHONS:
        return Finding("Python", "ok", found)
    return Finding("Python", "wrong", found, "install Python 3.11 or 3.12, then make clean and make setup")


def _node() -> Finding:
    tool = shutil.which("node")
    said = (
        subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout.strip() if tool else ""
    )
    major = said.removeprefix("v").partition(".")[0]
    if major.isdigit() and int(major) >= NODE:
        return Finding("Node.js", "ok", said)
    return Finding("Node.js", "wrong", said or "not found", f"install Node.js {NODE} or newer")


def _emulator() -> Finding:
    there = (ROOT / "node_modules" / ".bin" / "azurite").exists()
    return Finding(
        "storage emulator",
        "ok" if there else "wrong",
        "installed" if there else "not installed",
        "" if there else "run make setup",
    )


def _configuration(folder: Path) -> Finding:
    try:
        return Finding("configuration", "ok", f"{len(load_fleet(folder))} circuits")
    except ConfigurationError as error:
        return Finding("configuration", "wrong", str(error), "mend the file that is named; see docs/configuration.md")


# -------------------------------------------------------------------------------------------------------------- the app


def _app(set_up: SetUp) -> Iterator[Finding]:
    url = set_up.at.api.url
    start = "start it with make up, or give --url" if set_up.is_local else "see that it runs, and that --url is right"
    try:
        with opener(url).open(f"{url}/api/health", timeout=SECONDS) as answer:
            said, dated = json.load(answer), answer.headers.get("Date")
    except HTTPError as error:
        mend = "its log names what is missing or does not answer"
        yield Finding("app", "wrong", f"{url}/api/health answers {error.code}: {_detail(error)}", mend)
        return
    except (URLError, OSError, ValueError) as error:
        yield Finding("app", "wrong", f"{url} does not answer: {error}", start)
        return
    yield Finding("app", "ok", f"{said.get('status')}; its state answers")
    yield _clock(said.get("time"), dated)
    yield _closed_to_strangers(url)
    try:
        me = set_up.at.api.get("me")
    except ApiProblem as problem:
        yield Finding("sign-in", "wrong", str(problem), "fleet --as PERSON here; az login on Azure; or FLEET_TOKEN")
        return
    groups = ", ".join(me["groups"]) or "no group"
    operates = bool(set(me["groups"]) & set(me["operators"]))
    mend = "" if operates else f"to order something you must be in {' or '.join(me['operators'])}"
    yield Finding("sign-in", "ok" if operates else "warning", f"{me['username']}, in {groups}", mend)
    yield from _left(set_up.at)


def _detail(error: HTTPError) -> str:
    try:
        return str(json.load(error).get("detail", ""))
    except (ValueError, AttributeError):
        return error.reason


def _clock(told: Any, dated: str | None) -> Finding:
    try:
        theirs = datetime.fromisoformat(str(told))
    except ValueError:
        if not dated:
            return Finding("clock", "not checked", "the app told no time")
        theirs = parsedate_to_datetime(dated)
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    if skew <= MOST_SKEW_SECONDS:
        return Finding("clock", "ok", f"{skew:.0f} s from the app's")
    return Finding("clock", "wrong", f"{skew:.0f} s from the app's", "tokens will be refused: set this clock by NTP")


def _closed_to_strangers(url: str) -> Finding:
    """The webhook for events must ask for the host's key."""
    address = f"{url}/runtime/webhooks/eventgrid?functionName=on_etl_completed"
    request = Request(address, b"[]", {"Content-Type": "application/json", "aeg-event-type": "Notification"})
    try:
        with opener(address).open(request, timeout=SECONDS) as answer:
            status = answer.status
    except HTTPError as error:
        status = error.code
    except (URLError, OSError) as error:
        return Finding("host keys", "not checked", f"the webhook does not answer: {error}")
    if status in (401, 403):
        return Finding("host keys", "ok", "the webhook for events asks for its key")
    if status == 404:
        return Finding(
            "host keys", "warning", "there is no webhook for events", "on Azure: the extension may be loading"
        )
    return Finding("host keys", "wrong", f"the webhook answers {status} without a key", "renew the host's keys")


def _left(at: At) -> Iterator[Finding]:
    """What the app has put aside."""
    letters = [letter for letter in at.api.get("dead-letters")["dead_letters"] if not letter["replayed_at"]]
    found = f"{len(letters)} not replayed" if letters else "none"
    yield Finding("dead letters", "warning" if letters else "ok", found, "fleet dead-letters" if letters else "")
    standstill = at.api.get("fleet", size=1)["standstill"]
    mend = "fleet resume, when it is over" if standstill else ""
    yield Finding("production", "warning" if standstill else "ok", standstill or "open to releases", mend)


# ------------------------------------------------------------------------------------------------- settings and storage


def _mode(set_up: SetUp, settings: Settings) -> Finding:
    if settings.mode == LOCAL and not set_up.is_local:
        return Finding(
            "settings", "wrong", f"{set_up.at.api.url} with embedded settings", "set FLEET_MODE=azure and what it needs"
        )
    return Finding("settings", "ok", f"complete for FLEET_MODE={settings.mode}")


def _issuer(settings: Settings) -> Finding:
    """Whose signatures are believed; the settings have been held to the tenant already."""
    return _reached("token issuer's keys", settings.keys_uri)


def _reached(what: str, address: str, token: str = "") -> Finding:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with opener(address).open(Request(address, headers=headers), timeout=SECONDS) as answer:
            return Finding(what, "ok", f"{address} answers {answer.status}")
    except HTTPError as error:
        mend = "see that the address in the settings is right"
        if error.code >= 500:
            mend = "it was reached and is not well: look at its log, and ask again in a minute"
        return Finding(what, "wrong", f"{address} answers {error.code}", mend)
    except (URLError, OSError) as error:
        return Finding(
            what, "wrong", f"{address} does not answer: {error}", "see that it runs and can be reached from here"
        )


def _storage(settings: Settings) -> Iterator[Finding]:
    from shared.adapters.azure import credentials

    rights = "create them with the app's first start, and give the identity its data roles on the account"

    def looked(what: str, look: Callable[[], Finding]) -> Finding:
        from azure.core.exceptions import AzureError, ClientAuthenticationError

        try:
            return look()
        except ClientAuthenticationError as error:
            return Finding(what, "wrong", f"no token: {error.message}", "run az login, or see the managed identity")
        except AzureError as error:
            return Finding(what, "wrong", str(error.message).partition("\n")[0], rights)

    def table_shards() -> Finding:
        client = credentials.tables(settings).get_table_client(settings.state_table)
        shards = client.get_entity("meta", "shards")["shards"]
        if shards == settings.state_shards:
            return Finding("state table", "ok", f"{settings.state_table}, {shards} shards")
        mend = f"set STATE_SHARDS={shards}: every row is looked for in the wrong partition"
        return Finding("state table", "wrong", f"made with {shards} shards, settings say {settings.state_shards}", mend)

    def depth(name: str, most: int, mend: str) -> Finding:
        count = (
            credentials.queues(settings).get_queue_client(name).get_queue_properties().approximate_message_count or 0
        )
        return Finding(
            f"queue {name}", "ok" if count <= most else "warning", f"{count} messages", mend if count > most else ""
        )

    def container() -> Finding:
        there = credentials.blobs(settings).get_container_client(settings.documents).exists()
        return Finding("documents", "ok" if there else "wrong", settings.documents, "" if there else rights)

    yield looked("state table", table_shards)
    work, poison = settings.work_queue, f"{settings.work_queue}-poison"
    yield looked(f"queue {work}", lambda: depth(work, LONG_QUEUE, "see that the app runs: fleet status"))
    yield looked(f"queue {poison}", lambda: depth(poison, 0, "the app takes these to dead letters: see that it runs"))
    yield looked("documents", container)


# ------------------------------------------------------------------------------------------------------------- on Azure


def _azure(settings: Settings) -> Iterator[Finding]:
    """Resources as Azure has them, with the rights of who asks."""
    from shared.adapters.azure import credentials
    from shared.adapters.azure.approvals import SCOPE as DEVOPS
    from shared.adapters.azure.data_assets import SCOPE as MANAGEMENT
    from shared.adapters.azure.rest import RestClient

    identity = credentials.identity("")
    resources = RestClient("Azure Resource Manager", RESOURCES, identity, MANAGEMENT)

    def there(what: str, address: str, query: Mapping[str, str], mend: str, client: RestClient = resources) -> Finding:
        try:
            answer = client.get(address, query)
        except FleetError as error:
            return Finding(what, "wrong", str(error), "sign in with az login; the identity needs the Reader role there")
        name = address.rpartition("/")[2]
        return Finding(what, "ok", name) if answer else Finding(what, "wrong", f"{address} is not there", mend)

    workspaces = {
        Source.DEV_WORKSPACE: settings.dev_workspace,
        Source.TEST_WORKSPACE: settings.test_workspace,
        Source.PRODUCTION_WORKSPACE: settings.production_workspace,
    }
    for source, workspace in workspaces.items():
        yield there(f"{source} workspace", workspace, WORKSPACE_VERSION, f"set {source.upper()}_WORKSPACE to its id")
    yield there("topic", settings.topic_id, TOPIC_VERSION, "deploy infra/, or set TOPIC_ID")
    topics = {**workspaces, Source.LAKE: settings.lake_account, Source.OWN_TOPIC: settings.topic_id}
    for source, resource in topics.items():
        yield _subscribed(resources, source, resource)
    if settings.approval_channel == Channel.DEVOPS:
        project = f"{settings.devops_organization.rstrip('/')}/{settings.devops_project}/_apis"
        devops = RestClient("Azure DevOps", project, identity, DEVOPS)
        mend = "set DEVOPS_GATE_PIPELINE to the pipeline made of pipelines/approval_gate.yml"
        yield there("gate pipeline", f"pipelines/{settings.devops_gate_pipeline}", DEVOPS_VERSION, mend, devops)


def _subscribed(resources: Any, source: Source, resource: str) -> Finding:
    """Whether every function that is to hear of a source is named by a subscription of it."""
    what, kinds = (
        f"events of {source}",
        {kind for one in SUBSCRIPTIONS if source in one.sources for kind in one.event_types},
    )
    try:
        answer = resources.get(f"{resource}/providers/Microsoft.EventGrid/eventSubscriptions", TOPIC_VERSION)
    except FleetError as error:
        return Finding(what, "wrong", str(error), "the identity needs to read Event Grid's subscriptions there")
    listed = (answer.body or {}).get("value", []) if answer else []
    heard = {kind for one in listed for kind in (one["properties"].get("filter") or {}).get("includedEventTypes") or ()}
    if lost := sorted(kinds - heard):
        return Finding(
            what, "wrong", f"nobody subscribes to {', '.join(lost)}", "deploy infra/ again, once the app runs"
        )
    return Finding(what, "ok", f"{len(listed)} subscription(s)")


COMMANDS = (doctor,)
