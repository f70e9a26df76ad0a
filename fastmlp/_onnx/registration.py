"""Registration of the converters with skl2onnx, as soon as that is imported."""

import sys
from importlib.abc import MetaPathFinder

from fastmlp._onnx.converters import (
    convert_classifier,
    convert_regressor,
    shape_of_classifier,
    shape_of_regressor,
)
from fastmlp._onnx.estimators import CLASSIFIERS, REGRESSORS

# skl2onnx looks for the converters of an estimator in a table, by its class. It has no entry
# points, and fastmlp must not import it: that takes longer than fastmlp itself.
WATCHED = "skl2onnx"

OPTIONS_OF_CLASSIFIER = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [True, False],
}


def register_converters():
    """Register the converters of all estimators with skl2onnx."""
    from skl2onnx import update_registered_converter

    of_classifier = shape_of_classifier, convert_classifier
    of_regressor = shape_of_regressor, convert_regressor
    for model in CLASSIFIERS:
        update_registered_converter(
            model, f"Fastmlp{model.__name__}", *of_classifier, options=OPTIONS_OF_CLASSIFIER
        )
    for model in REGRESSORS:
        update_registered_converter(model, f"Fastmlp{model.__name__}", *of_regressor)


class Watcher(MetaPathFinder):
    """Registers the converters at the end of the import of skl2onnx.

    It finds nothing itself: it asks the other finders, and their loader loads the module.
    """

    def find_spec(self, name, path, target=None):
        if name != WATCHED:
            return None
        for finder in sys.meta_path:
            if not isinstance(finder, Watcher) and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return self._registering(spec)
        return None

    @staticmethod
    def _registering(spec):
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            register_converters()

        spec.loader.exec_module = exec_module
        return spec


def register_when_imported():
    """Register the converters now, or when skl2onnx is imported."""
    if WATCHED in sys.modules:
        register_converters()
    elif not any(isinstance(finder, Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, Watcher())
