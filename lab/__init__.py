"""The world: namespaces, links, hosts, servers, captures. It knows no rule and never imports `middlebox`."""
