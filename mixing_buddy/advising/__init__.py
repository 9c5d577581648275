"""Listening to a song: ``windows`` of it, ``inference`` on them, ``combining`` the answers."""
