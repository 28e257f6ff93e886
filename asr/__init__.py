"""Compact CTC speech recognisers: train, decode, score and ship, from pip alone."""

__version__ = "0.1.0"
