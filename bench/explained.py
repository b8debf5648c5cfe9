"""Why a target is missed, where it is: by the name of its table."""

SHORT: dict[str, str] = {}
