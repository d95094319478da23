"""The world of the lab: namespaces, links, hosts, captures. It knows no rule and never imports `middlebox`."""
