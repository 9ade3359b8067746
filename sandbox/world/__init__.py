"""The sandbox's world: one process with every server in it; `client.World` starts it and speaks to it."""
