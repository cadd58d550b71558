"""Simulated time: events, updates under way, messages and what they cost."""
