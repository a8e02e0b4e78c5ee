"""The name under which configs written by earlier versions load the models of `agents.mini.model`; knows nothing else."""

from paymaster.agents.mini.model import PaymasterModel, PaymasterTextModel

__all__ = ["PaymasterModel", "PaymasterTextModel"]
