"""What `python -m maim_trio` is made of: the relay server, and the small clients that go with it."""
