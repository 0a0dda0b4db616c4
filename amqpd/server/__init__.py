"""The asyncio rim: sockets and timers around sans-IO sessions."""
