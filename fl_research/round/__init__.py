"""A round put together: what a method says, and what is made of it for a driver."""
