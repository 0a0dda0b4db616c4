"""The logs of streams: a directory of segments for each."""
