"""Damaged and hostile encoder files, made by number, and what loading one of them must end in."""
