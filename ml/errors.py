"""Why a circuit could not be trained or scored.

ModelInputError
├── StaleInput        the sensor's newest reading is older than the forecast origin: comes right with the next ETL run
├── IncompleteInput   too little history, or too many holes in it
├── DamagedTable      files of the table are missing, cut or corrupt: a person has to restore them
└── WrongInput        another table, model or sensor than was asked for: trying again does not help
"""

from __future__ import annotations


class ModelInputError(ValueError):
    """The readings or the model do not allow what was asked; names the circuit, the cause and the next step."""


class StaleInput(ModelInputError):
    """The sensor's newest reading is older than the forecast origin."""


class IncompleteInput(ModelInputError):
    """Too little history, or too many holes in it."""


class DamagedTable(ModelInputError):
    """Files of the table are missing, cut or corrupt; names them and what to do."""


class WrongInput(ModelInputError):
    """Another table, model or sensor than was asked for."""
