"""What a planned change of any Pulumi program means for senders, and whether it is safe."""
