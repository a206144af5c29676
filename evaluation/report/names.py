"""Names of models, tasks and metrics in the report, and the meaning of each metric."""

from __future__ import annotations

from typing import Final

from evaluation.figures import Record
from workflows.tasks.task_names import CART, CART_LINE, DLRM, JUST_ADDED, RANKING, RETRIEVAL, TWO_STAGE

ABSENT: Final = "\u2013"
"""Placeholder for a missing value."""
_MODELS: Final = {
    "two_tower": "two-tower",
    "item_to_item": "neighbours",
    DLRM: "DLRM",
    "lambdarank": "LambdaRank",
    "als": "ALS",
    "bpr": "BPR",
    "ease": "EASE",
    "item_knn": "item kNN",
    "vsknn": "V-SkNN",
    "markov_next_item": "Markov chain",
    "popular_in_category": "popular in category",
    "logistic_regression": "logistic regression",
    "gradient_boosting": "gradient boosting",
    "lightgbm": "gradient boosting",
    "poisson_regression": "Poisson regression",
    "one_feature": "best single column",
    "recent_mean": "mean of the last 28 days",
    "buy_till_you_die": "BG/NBD with Gamma-Gamma",
    "s_linear": "S-learner, linear",
    "t_linear": "T-learner, linear",
    "x_linear": "X-learner, linear",
    "s_trees": "S-learner, trees",
    "t_trees": "T-learner, trees",
    "x_trees": "X-learner, trees",
}
_TASKS: Final = {
    TWO_STAGE: "Recommendations as served",
    RETRIEVAL: "Retrieval alone",
    RANKING: "Ranking alone",
    CART_LINE: "Purchase of cart lines",
    CART: "Purchase of carts",
    JUST_ADDED: "The line added last, with the oracle",
}
_ABOUT_TASKS: Final = {
    TWO_STAGE: "Retrieval finds candidates in the whole catalogue and ranks them by its score. Those of the DLRM and of boosted "
    "trees, trained on candidates of earlier windows, are added if they improve validation.",
    RETRIEVAL: "Retrieval ranks the whole catalogue: the retrieval model alone, and with the components that validation adds.",
    RANKING: "The DLRM separates the item that a shopper turned to from random ones; its probabilities refer to this sample.",
    CART_LINE: "The cart model predicts the probability that each line of a cart is bought.",
    CART: "The cart model predicts the probability that anything in a cart is bought.",
    JUST_ADDED: "The oracle of a simulated shop knows the probability of the line added last, so all models are evaluated on those lines.",
}
_METRICS: Final = {
    "ndcg": "NDCG",
    "map": "MAP",
    "mrr": "MRR",
    "hit_rate": "hit rate",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "auc": "ROC AUC",  # of training histories, as the next
    "recall_20": "recall@20",
    "brier": "Brier score",
    "f1_at_threshold": "F1 at threshold",
    "average_popularity": "average popularity",
    "gini": "Gini",
    "mae": "MAE",
    "rmse": "RMSE",
    "wape": "WAPE",
    "poisson_deviance": "Poisson deviance",
    "qini": "Qini",
    "rmsse": "RMSSE",
}
GLOSSARY: Final = {
    "ndcg": "Normalised discounted cumulative gain: hits count more at higher ranks; 1 means every true item is ranked first.",
    "recall": "Fraction of the true items that are among the first k.",
    "hit_rate": "Fraction of queries with at least one hit among the first k.",
    "mrr": "Mean reciprocal rank of the first hit.",
    "map": "Mean average precision: mean over true items of the precision at their ranks, truncated at k.",
    "precision": "Fraction of the first k items that are true.",
    "coverage": "Fraction of the catalogue that is recommended to at least one user.",
    "novelty": "Mean of -log2 of the recommended items' share of interactions; higher means rarer items.",
    "diversity": "Fraction of pairs of items in a list with different categories.",
    "serendipity": "Fraction of the first k items that are true and not among the most popular ones.",
    "gini": "Inequality of how often items are recommended: 0 means equally often, 1 means one item for all users.",
    "average_popularity": "Mean number of interactions of the recommended items.",
    "roc_auc": "Probability that a random positive scores above a random negative; 0.5 is random.",
    "pr_auc": "Average precision; the base rate is random.",
    "log_loss": "Mean negative log-probability of the observed outcomes; lower is better.",
    "brier": "Mean squared difference between predicted probability and outcome; lower is better.",
    "calibration_error": "Mean absolute difference between predicted and observed probability, in 15 bins; lower is better.",
    "accuracy_at_threshold": "Fraction of correct decisions; always predicting 0 is correct for every negative.",
    "precision_at_threshold": "Precision: fraction of predicted positives that are correct.",
    "recall_at_threshold": "Recall: fraction of positives that are predicted.",
    "f1_at_threshold": "Harmonic mean of precision and recall at the threshold.",
    "mae": "Mean absolute error, in the unit of the quantity; lower is better.",
    "rmse": "Root of the mean squared error, in the unit of the quantity; lower is better.",
    "wape": "Sum of absolute errors over the sum of quantities; lower is better.",
    "poisson_deviance": "Mean Poisson deviance, a loss for counts; lower is better.",
}


def model_name(model: str) -> str:
    """Return the name of a model in the report.

    >>> model_name("two_tower+dlrm"), model_name("most_popular")
    ('two-tower + DLRM', 'most popular')
    """
    return " + ".join(_MODELS.get(part, part.replace("_", " ")) for part in model.split("+"))


def task_name(task: str) -> str:
    """Return the heading of a task."""
    return _TASKS.get(task, task.replace("_", " ").capitalize())


def about_task(task: str) -> str:
    """Return the description of a task; empty for an unknown one."""
    return _ABOUT_TASKS.get(task, "")


def metric_name(metric: str, k: int | None = None) -> str:
    """Return the name of a metric at its cutoff.

    >>> metric_name("ndcg", 10), metric_name("log_loss")
    ('NDCG@10', 'log loss')
    """
    name = _METRICS.get(metric, metric.replace("_", " "))
    return name if k is None else f"{name}@{k}"


def figure(value: float | None, digits: int = 4) -> str:
    """Return a metric as text, a dash for none."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def interval(record: Record, digits: int = 4) -> str:
    """Return the ends of a record's interval as text."""
    if record.low is None or record.high is None:
        return "no interval"
    return f"{record.low:.{digits}f} to {record.high:.{digits}f}"


def p_value_text(p_value: float | None) -> str:
    """Return a p-value as text.

    >>> p_value_text(0.0123), p_value_text(0.0004)
    ('p = 0.012', 'p < 0.001')
    """
    if p_value is None:
        return ""
    return f"p = {p_value:.3f}" if p_value >= 0.001 else "p < 0.001"


def listing(names: list[str]) -> str:
    """Return names as a part of a sentence.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
