"""The services that Azure keeps beside the app, in one server thread: Event Grid and the token issuer."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from starlette.applications import Starlette
from starlette.routing import Mount

from local.event_grid import EventGridService
from local.issuer import DEFAULT_AUDIENCE, TokenIssuer
from local.servers import ServerThread


class LocalServices:
    """`/eventgrid` and `/issuer` on one port of the loopback; their state is in `state_folder`.

    port 0 takes a free one. time_scale: factor on Event Grid's waits. Raises PortTaken and BadPeopleFile.
    """

    def __init__(
        self,
        state_folder: Path,
        people_file: Path,
        *,
        port: int = 0,
        time_scale: float = 1.0,
        audience: str = DEFAULT_AUDIENCE,
    ) -> None:
        self.issuer = TokenIssuer(state_folder, people_file, audience=audience)
        self.event_grid = EventGridService(state_folder / "event-grid.sqlite", time_scale=time_scale)
        application = Starlette(
            routes=[
                Mount("/eventgrid", app=self.event_grid.application),
                Mount("/issuer", app=self.issuer.application),
            ]
        )
        self._server = ServerThread(application, port=port, purpose="Event Grid and the token issuer")
        self.event_grid.serve_at(f"{self.url}/eventgrid")
        self.issuer.serve_at(f"{self.url}/issuer")

    @property
    def url(self) -> str:
        return self._server.url

    def start(self) -> Self:
        """Return when both services answer and Event Grid delivers."""
        self._server.start()
        self.event_grid.start_delivering()
        return self

    def stop(self) -> None:
        """Stop both; undelivered events wait in the state folder for the next start."""
        self._server.stop()
        self.event_grid.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
