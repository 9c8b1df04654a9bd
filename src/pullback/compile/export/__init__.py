"""Graphs handed to other frameworks."""
