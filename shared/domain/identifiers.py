"""Identifiers: what the ids that people and programs give look like, for the API and for the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

from shared.domain.values import ENVIRONMENT, SEMANTIC_VERSION, Monitoring

_CIRCUIT = r"[A-Za-z][A-Za-z0-9]{0,6}_[A-Za-z][A-Za-z0-9]{0,12}"
_RELEASE = rf"{_CIRCUIT}:[1-9][0-9]{{0,8}}"
_ASKED = r":(registry|production):[1-9][0-9]{0,3}"


@dataclass(frozen=True)
class Form:
    """The form of an id: a regular expression for the whole of it, and an example."""

    pattern: str
    example: str

    def fits(self, text: str) -> bool:
        return re.fullmatch(self.pattern, text, re.ASCII) is not None

    @property
    def whole(self) -> str:
        """The pattern as JSON Schema wants it."""
        return f"^{self.pattern}$"


PLANT = Form(r"[A-Za-z][A-Za-z0-9]{0,6}", "P001")
CIRCUIT = Form(_CIRCUIT, "P001_C001")
RELEASE = Form(_RELEASE, "P001_C001:3")
APPROVAL = Form(rf"({_RELEASE}|{ENVIRONMENT}:{SEMANTIC_VERSION}){_ASKED}", "P001_C001:3:registry:1")
MODEL_APPROVAL = Form(f"{_RELEASE}{_ASKED}", "P001_C001:3:registry:1")
ENVIRONMENT_VERSION = Form(SEMANTIC_VERSION, "1.1.0")
ENVIRONMENT_RELEASE = Form(f"{ENVIRONMENT}:{SEMANTIC_VERSION}", f"{ENVIRONMENT}:1.1.0")
ALERT = Form(r"[a-z][a-z-]{1,39}:[A-Za-z0-9][A-Za-z0-9_.:!@~+-]{0,119}", "scoring:P001_C001")
PROPOSAL = Form(rf"{_CIRCUIT}!proposal\.[1-9][0-9]{{0,8}}", "P001_C001!proposal.1")
MONITORING_RUN = Form(
    rf"({'|'.join(Monitoring)})-[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}(-[0-9a-f]{{10}})?", "performance-2026-01-31"
)
MODEL_MONITOR = "model-monitor"
"""Begins the names of runs that were AzureML's own monitors; the rest is the job's name."""
CHECKED_BY = Form(rf"({MONITORING_RUN.pattern}|{MODEL_MONITOR}-[A-Za-z0-9][A-Za-z0-9._-]{{0,254}})", "drift-2026-03-31")
ETL_RUN = Form(r"etl-[0-9]{8}T[0-9]{6}Z", "etl-20260131T030500Z")
DEAD_LETTER = Form(r"[0-9]{13}-[0-9a-f]{12}", "8204499910951-0f3a5c7e9b1d")
REASON = range(3, 501)
"""How many characters a reason may have."""
