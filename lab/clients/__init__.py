"""Real clients, one driver each. `lab.clients.registry.CLIENTS` maps a client's name to what runs it."""
