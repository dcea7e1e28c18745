"""Adapt the networks that read numbers to the pictures of one person, for digitcli adapt."""
