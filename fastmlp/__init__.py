"""Fast multilayer perceptrons on a CPU, behind the scikit-learn interface."""

from importlib.util import find_spec as _find_spec

if _find_spec("fastmlp._core") is None:
    raise ImportError(
        f"This is the source folder of fastmlp ({__path__[0]}): its core has not been compiled. "
        "Run 'pip install .' in the folder above it, and start Python in another folder (Python "
        "looks in the current folder first), or install with 'pip install -e .'."
    )

from fastmlp import distributed as distributed
from fastmlp._engine.config import __version__ as __version__
from fastmlp._engine.config import show_config as show_config
from fastmlp._engine.input_layer import InputLayer as InputLayer
from fastmlp._engine.model_file import ModelFileError as ModelFileError
from fastmlp._engine.network import Network as Network
from fastmlp._estimators.classifier import MLPClassifier as MLPClassifier
from fastmlp._estimators.regressor import MLPRegressor as MLPRegressor
from fastmlp._estimators.stream_pipelines import fit_stream as fit_stream
from fastmlp._files.loading import load as load
from fastmlp._files.loading import save as save
from fastmlp._inspection.diagnostics import Diagnosis as Diagnosis
from fastmlp._inspection.diagnostics import Finding as Finding
from fastmlp._inspection.diagnostics import diagnose as diagnose
from fastmlp._inspection.displays import GradientFlowDisplay as GradientFlowDisplay
from fastmlp._inspection.displays import LossCurveDisplay as LossCurveDisplay
from fastmlp._inspection.gradient_check import GradientCheck as GradientCheck
from fastmlp._inspection.gradient_check import check_gradients as check_gradients
from fastmlp._inspection.weights_display import WeightsDisplay as WeightsDisplay
from fastmlp._onnx.export import to_onnx as to_onnx
from fastmlp._onnx.registration import register_when_imported
from fastmlp._tabular.classifier import TabularMLPClassifier as TabularMLPClassifier
from fastmlp._tabular.regressor import TabularMLPRegressor as TabularMLPRegressor
from fastmlp._training.history import Epoch as Epoch

register_when_imported()
del register_when_imported
