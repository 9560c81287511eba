"""Containers that are made to do harm."""

from livecaption.evaluation.containers import flac_of_silence

__all__ = ["flac_of_silence"]
