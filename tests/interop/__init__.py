"""Our server and our client against the real programs of other people, each in a process of its own."""
