"""How people read where a call goes: the model, its endpoint if it has several, and a tier of service. `sonnet/eu (flex)`."""


def place_name(model: str, endpoint: str = "", tier: str = "") -> str:
    """The place in one text; of what is empty nothing is said."""
    place = f"{model}/{endpoint}" if endpoint else model
    return f"{place} ({tier})" if tier else place
