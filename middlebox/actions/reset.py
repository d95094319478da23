"""`reset`: forged RSTs towards one end or both."""

from __future__ import annotations

from middlebox.decision import Forged
from middlebox.flow import Direction
from middlebox.forge import Forger, Occasion
from middlebox.profile import Reset, Towards

_DIRECTIONS = {
    Towards.CLIENT: (Direction.SERVER_TO_CLIENT,),
    Towards.SERVER: (Direction.CLIENT_TO_SERVER,),
    Towards.BOTH: (Direction.SERVER_TO_CLIENT, Direction.CLIENT_TO_SERVER),
}


def plan_reset(action: Reset, forger: Forger, occasion: Occasion) -> list[tuple[Direction, Forged]]:
    """The packets with their direction; what goes towards the client comes first, as it has the shorter way to race."""
    planned: list[tuple[Direction, Forged]] = []
    for direction in _DIRECTIONS[action.towards]:
        to_client = direction is Direction.SERVER_TO_CLIENT
        look = (action.look_to_client if to_client else action.look_to_server) or action.look
        planned.extend((direction, forged) for forged in forger.segments(look, occasion, direction))
    return planned
