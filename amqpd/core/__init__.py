"""The broker model: pure, synchronous, owned by one thread; time comes in as an argument."""
