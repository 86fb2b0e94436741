"""What goes wrong, told to a person."""


class Problem(Exception):
    """One sentence that says what is wrong and what to do about it; the command exits with 1."""


class Interrupted(BaseException):
    """A signal asked the command to stop; what it started is taken down on the way out."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum
