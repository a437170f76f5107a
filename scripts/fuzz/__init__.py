"""Hostile input by the thousand: files for every reader (`files`), and prompts for a running server (`server`)."""
