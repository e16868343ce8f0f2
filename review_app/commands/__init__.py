"""The commands of `flagback`, one module for each of their families. Heavy imports stand inside the commands."""
