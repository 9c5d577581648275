"""Advice over HTTP, on the user's own machine.

``limits`` says what a request may hold, ``uploads`` takes it in, ``schemas`` describes what comes
back, ``app`` answers, ``server`` listens at an address.
"""
