"""Real servers with throw-away configuration: each module has `start(host, directory, ...) -> Service`."""
