"""`SavesModel`: the method `save` of networks and estimators."""

import os

from fastmlp._engine.model_file import Parts, write_model_file


class SavesModel:
    """Mixin with `save`, for classes that have ``_write``."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a model file, to be read by `fastmlp.load`.

        The file is written beside and renamed, so that it is the old one or the new one, whole.

        Parameters
        ----------
        path : path-like
            The file. Its usual ending is '.safetensors'.

        Raises
        ------
        TypeError
            If the model is of a class that is derived from ours.
        ValueError
            If the loss or a parameter is something that no file can hold, such as a function.
        OSError
            If the file cannot be written.

        Examples
        --------
        See `fastmlp.save`.
        """
        self._save(path)

    def _save(self, path, **options):
        cls = type(self)
        if cls.__module__.split(".")[0] != "fastmlp":
            raise TypeError(
                f"a model file holds no {cls.__name__}, which is not a class of fastmlp; `load` "
                "would not know it"
            )
        parts = Parts()
        self._write(parts, **options)
        write_model_file(path, cls.__name__, parts)
