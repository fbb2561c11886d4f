"""Whose scanners are simulated, and what they scan."""

from typing import Literal

Scanner = Literal["siemens", "ge", "philips", "canon"]
SCANNERS: tuple[Scanner, ...] = ("siemens", "ge", "philips", "canon")
CtKind = Literal["ncct", "ctp"]
MrKind = Literal["pwi", "dwi", "gre"]
