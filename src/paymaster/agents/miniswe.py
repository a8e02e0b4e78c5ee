"""The old module name of `agents.mini.model`, which configs of earlier versions have; knows nothing else."""

from paymaster.agents.mini.model import PaymasterModel, PaymasterTextModel

__all__ = ["PaymasterModel", "PaymasterTextModel"]
