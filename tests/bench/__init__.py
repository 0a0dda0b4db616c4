"""Raw-socket load: messages per second and broker CPU per message."""
