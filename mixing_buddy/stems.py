"""The stems of a song and what each may be in a sample."""

#: The four stems of MUSDB18-HQ's layout, in the order used in every array with a stem axis.
STEMS: tuple[str, ...] = ("bass", "drums", "other", "vocals")

#: Stems that may be a sample's target (too loud or too quiet) or its anchor (taken as right).
#: ``other`` sounds in the mix but is too mixed a bag to give advice on.
ADVISED_STEMS: tuple[str, ...] = ("bass", "drums", "vocals")
