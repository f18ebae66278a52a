"""The specimen: an embedded White Horse booking platform with real parts."""
