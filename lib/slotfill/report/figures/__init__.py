"""Charts: a finished frame in, a Figure out.

Every figure works on a few rows and on none, comes in a wide and a narrow form, says its unit on the axis, and gives a
hop or an outcome the same colour everywhere. Figures come from the object interface, so nothing is left open.
"""
