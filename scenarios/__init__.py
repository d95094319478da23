"""The plays: a world from `lab`, a box from `middlebox`, steps, and what must be seen."""
