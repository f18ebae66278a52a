"""Log files in, attempts out."""

from slotfill.read.logs import Reading, read_logs
from slotfill.read.text import excerpt

__all__ = ["Reading", "excerpt", "read_logs"]
