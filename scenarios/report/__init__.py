"""What the user sees of a run: the table of outcomes, the packet ladder, and what was expected."""
