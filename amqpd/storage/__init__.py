"""What is on the disk: the journal of messages and the catalog of what exists. `store` opens a data directory."""
