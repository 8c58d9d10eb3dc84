"""The error of the converter."""

from so3md.printable import printable

#: What a message may say of a source, which is anybody's.
_LONGEST = 2000


class ConversionError(ValueError):
    """A source that cannot be converted; the message says what was found and what to do.

    It is one line that can be shown to anybody, whatever the source has in it: control characters are written out.
    """

    def __init__(self, message: str) -> None:
        text = printable(message)
        super().__init__(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


class TheoryLevelMissing(ConversionError):
    """A source has several levels of theory, and none was chosen. `levels`: a table of them, for people."""

    def __init__(self, count: int, levels: str) -> None:
        super().__init__(
            f"the model has {count} levels of theory, each with its own energies and forces, and does not say which is "
            "meant (the ASE loader of the JAX program takes 5, the calculator of so3krates-torch 0): choose one, in "
            "Python theory_level=N, for the command --theory-level N"
        )
        self.levels = levels
