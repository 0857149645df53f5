"""What adjax is timed against: the same work, written plainly in PyTorch as its users would write it."""
