"""A user's own modules, and the digest by which workers check that they run the driver's code."""

from trainers.extensions.user_modules import load

__all__ = ["load"]
