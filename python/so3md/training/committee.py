"""A committee: trainings that differ in their seed alone, one after the other, in one directory."""

from __future__ import annotations

import copy
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from so3md.model_file import ModelFile
from so3md.run_directory import read_json, replace_file, write_json
from so3md.training.config import Config
from so3md.training.processes import ALONE, TrainingTeam
from so3md.training.run import MODEL, RUN, SUMMARY, Run
from so3md.training.sample import Parts
from so3md.training.schema import ConfigError, build
from so3md.training.start import check_low_rank

RECORD, START = "committee.json", "start.safetensors"
MOST = len(string.ascii_lowercase)


class CommitteeRun:
    """The trainings in a directory: member k (from 1 on) has the seed of the configuration plus k - 1, its run in
    member-k, and its model, once it has ended, in a.safetensors, b.safetensors, ...

    All have the same training, validation and test structures: those of the seed of the configuration.
    """

    def __init__(self, directory: Path, record: dict[str, Any], start: ModelFile | None) -> None:
        self.directory, self._record, self._start = directory, record, start
        self.members: int = record["members"]

    @classmethod
    def start(
        cls,
        members: int,
        config: Config,
        data_directory: Path,
        directory: Path,
        model: ModelFile | None,
        overwrite: bool,
    ) -> CommitteeRun:
        """Begin one. Raises FileExistsError if the directory holds one already, unless it is to be overwritten."""
        check_low_rank(config, model)
        if (directory / RECORD).exists() and not overwrite:
            raise FileExistsError(
                f"{directory} holds a committee already ({RECORD}); give another --output, or --overwrite"
            )
        config = copy.deepcopy(config)
        if config.data.split.seed is None:
            config.data.split.seed = config.seed
        directory.mkdir(parents=True, exist_ok=True)
        record = {
            "members": members,
            "config": config.document(),
            "data_directory": str(data_directory.absolute()),
            "kind": "train" if model is None else "finetune",
        }
        if model is not None:
            model.write(directory / START)
        run = cls(directory, record, model)
        for number in range(1, members + 1):
            for path in (run.model_of(number), run.directory_of(number) / SUMMARY, run.directory_of(number) / RUN):
                path.unlink(missing_ok=True)  # so that nothing of another committee is taken for this one's
        write_json(directory / RECORD, record)
        return run

    @classmethod
    def resume(cls, directory: Path, changes: dict[str, Any]) -> CommitteeRun:
        """Go on with one; changes: as of `Run.resume`. Raises ValueError for a damaged record."""
        record = read_json(directory / RECORD)
        try:
            record["config"]["training"] |= changes
            build(Config, record["config"])
            members = record["members"]
            if type(members) is not int or not 1 < members <= MOST:
                raise ConfigError(f"members: expected a number from 2 to {MOST}, found {members!r}")
            start = ModelFile.read(directory / START) if record["kind"] == "finetune" else None
        except (KeyError, TypeError, ConfigError) as error:
            raise ValueError(f"{directory / RECORD}: damaged, or of another version: {error}") from error
        return cls(directory, record, start)

    def directory_of(self, number: int) -> Path:
        """That of the run of a member, from 1 on."""
        return self.directory / f"member-{number}"

    def model_of(self, number: int) -> Path:
        """The model file of a member, from 1 on."""
        return self.directory / f"{string.ascii_lowercase[number - 1]}.safetensors"

    def train(
        self,
        see_through: Callable[[int, Run], int],
        on_data: Callable[[Parts], None],
        changes: dict[str, Any],
        team: TrainingTeam = ALONE,
    ) -> int:
        """Train the members that have not ended. see_through(number, run) trains one and returns an exit code; the
        first that is not 0 ends this one too. Collective in the team."""
        for number in range(1, self.members + 1):
            if team.from_leader(self.model_of(number).exists) and not changes:
                continue
            with self._run(number, on_data, changes, team) as run:
                if code := see_through(number, run):
                    return code
            team.on_leader(partial(self._publish, number))
        return 0

    def _publish(self, number: int) -> None:
        """Put the model of a member that has ended where those of the committee are."""
        replace_file(self.model_of(number), (self.directory_of(number) / MODEL).read_bytes())

    def _run(
        self,
        number: int,
        on_data: Callable[[Parts], None],
        changes: dict[str, Any],
        team: TrainingTeam,
    ) -> Run:
        directory = self.directory_of(number)
        if team.from_leader((directory / RUN).exists):
            return Run.resume(directory, changes, team)
        config = build(Config, self._record["config"])
        config.seed += number - 1
        # A member that was killed before its record was written has left files of no use.
        data_directory = Path(self._record["data_directory"])
        return Run.start(
            config, data_directory, directory, model=self._start, overwrite=True, on_data=on_data, team=team
        )
