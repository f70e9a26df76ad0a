"""What `fastmlp evaluate` computes: scores, the confusion matrix and the calibration."""

import numpy as np
from sklearn.metrics import (
    confusion_matrix,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
    roc_auc_score,
)

N_BINS = 10


def scores_of_classes(codes, probabilities):
    """Return the scores of probabilities.

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,)
        The true classes, by their places.
    probabilities : ndarray of shape (n_rows, n_classes)
    """
    predicted = probabilities.argmax(axis=1)
    known = np.eye(probabilities.shape[1])[codes]
    places = np.arange(probabilities.shape[1])
    bins = calibration_bins(*judged_probabilities(codes, probabilities))
    return {
        "accuracy": float(np.mean(predicted == codes)),
        "balanced accuracy": mean_recall(codes, predicted),
        "log loss": float(log_loss(codes, probabilities, labels=places)),
        "ROC AUC": mean_area(known, probabilities),
        "Brier score": brier_score(known, probabilities),
        "calibration error": sum(
            bin["rows"] * abs(bin["share"] - bin["probability"]) for bin in bins
        )
        / len(codes),
    }


def brier_score(known, probabilities):
    """Return the mean squared error of the probabilities: of the second of two classes, or of all.

    For two classes, the sum over both would be twice the usual score.
    """
    squares = (probabilities - known) ** 2
    return float(np.mean(squares[:, 1] if squares.shape[1] == 2 else squares.sum(axis=1)))


def mean_recall(codes, predicted):
    """Return the mean over the classes that occur of the share of their rows that is right."""
    return float(np.mean([np.mean(predicted[codes == k] == k) for k in np.unique(codes)]))


def mean_area(known, probabilities):
    """Return the mean area under the ROC curves of each class against the others, or None.

    Classes of none or of all of the rows have no such curve. For two classes it is the usual area.
    """
    areas = [
        float(roc_auc_score(is_class, probability))
        for is_class, probability in zip(known.T, probabilities.T, strict=True)
        if 0 < is_class.sum() < len(is_class)
    ]
    return float(np.mean(areas)) if areas else None


def judged_probabilities(codes, probabilities):
    """Return the probabilities whose calibration is judged, and whether what they say is true.

    These are the probabilities of the second of two classes, or of the predicted one of several.
    """
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], codes == 1
    return probabilities.max(axis=1), codes == probabilities.argmax(axis=1)


def calibration_bins(probabilities, is_true):
    """Return the number of rows, mean probability and share of true ones by tenths."""
    places = np.minimum((probabilities * N_BINS).astype(int), N_BINS - 1)
    return [
        {
            "from": k / N_BINS,
            "to": (k + 1) / N_BINS,
            "rows": int(np.sum(places == k)),
            "probability": float(np.mean(probabilities[places == k])),
            "share": float(np.mean(is_true[places == k])),
        }
        for k in np.unique(places).tolist()
    ]


def confusion(codes, probabilities):
    """Return the numbers of rows by true class (rows) and predicted class (columns)."""
    places = np.arange(probabilities.shape[1])
    return confusion_matrix(codes, probabilities.argmax(axis=1), labels=places).tolist()


def scores_of_numbers(y, predictions, interval=None):
    """Return the scores of predicted numbers, and the coverage of intervals."""
    scores = {
        "RMSE": float(np.sqrt(mean_squared_error(y, predictions))),
        "MAE": float(mean_absolute_error(y, predictions)),
        "R2": float(r2_score(y, predictions)) if len(y) > 1 else None,
    }
    if interval is not None:
        lower, upper = interval.T
        scores["coverage of 90% intervals"] = float(np.mean((lower <= y) & (y <= upper)))
    return scores
