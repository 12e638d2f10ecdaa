"""A second vendor, and a judge of what a client did to it, which share no code with the package."""
