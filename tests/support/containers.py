"""Containers that are made to attack a decoder."""

from livecaption.evaluation.containers import flac_of_silence

__all__ = ["flac_of_silence"]
