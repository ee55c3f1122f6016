"""The rules of each public dialect, one file each: what its document says, seen from a client."""
