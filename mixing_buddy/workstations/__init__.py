"""Projects of workstations: read into tracks, heard as stems, advice written back as fader moves.

`formats.read_project` and `formats.write_advice` choose the format by the name of the file;
`listening.render_stems` makes of a project what the model listens to.
"""
