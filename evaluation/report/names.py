"""How the report calls models, tasks and metrics, and what each metric means."""

from __future__ import annotations

from typing import Final

from evaluation.figures import Record
from workflows.tasks.task_names import CART, CART_LINE, DLRM, JUST_ADDED, RANKING, RETRIEVAL, TWO_STAGE

ABSENT: Final = "\u2013"
"""Stands where there is no figure."""
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
    CART_LINE: "Which cart lines get bought",
    CART: "Which carts get bought",
    JUST_ADDED: "The line just added, beside the oracle",
}
_ABOUT_TASKS: Final = {
    TWO_STAGE: "Retrieval finds candidates in the whole catalogue; its score orders them, with those of the DLRM and of trees that have "
    "learnt from candidates of earlier windows where validation was better served with them.",
    RETRIEVAL: "Retrieval orders the whole catalogue: the retrieval model by itself, and with what validation adds to it.",
    RANKING: "The DLRM tells the item that a shopper turned to from others drawn at random: its chances are of this game.",
    CART_LINE: "The cart model says of each line of a cart how likely it gets bought.",
    CART: "The cart model says of each cart how likely anything in it gets bought.",
    JUST_ADDED: "The oracle of a simulated shop knows the chance of the line added last, so all are judged on those lines.",
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
}
GLOSSARY: Final = {
    "ndcg": "Normalised discounted cumulative gain: hits count more the higher they stand; 1 is every true item on top.",
    "recall": "Share of what the shopper turned to that is among the first k.",
    "hit_rate": "Share of moments with at least one hit among the first k.",
    "mrr": "Mean of one over the place of the first hit.",
    "map": "Mean over true items of the precision at their places, cut at k.",
    "precision": "Share of the first k that came true.",
    "coverage": "Share of the catalogue that is shown to anyone.",
    "novelty": "Mean of -log2 of the shown items' share of interactions: higher is rarer.",
    "diversity": "Share of the pairs within a list that are of different categories.",
    "serendipity": "Share of the first k that came true and that most popular would not have shown.",
    "gini": "How unevenly items are shown: 0 is evenly, 1 is one item to all.",
    "average_popularity": "Mean number of interactions of the shown items.",
    "roc_auc": "Chance that a true row scores above a false one; 0.5 is a coin.",
    "pr_auc": "Average precision over the true rows; the base rate is a coin's.",
    "log_loss": "Mean of -log of the chance given to what happened; lower is better.",
    "brier": "Mean squared difference of the chance and what happened; lower is better.",
    "calibration_error": "Mean distance between said and seen chances, in 15 bins; lower is better.",
    "accuracy_at_threshold": "Share of rows whose yes or no is right; always no is right as often as the label is 0.",
    "precision_at_threshold": "Share of those said yes to that came true.",
    "recall_at_threshold": "Share of those that came true that were said yes to.",
    "f1_at_threshold": "Harmonic mean of precision and recall at the threshold.",
    "mae": "Mean absolute error, in the unit of the quantity; lower is better.",
    "rmse": "Root of the mean squared error, in the unit of the quantity; lower is better.",
    "wape": "Sum of absolute errors over the sum of quantities; lower is better.",
    "poisson_deviance": "Mean Poisson deviance, the loss of counts; lower is better.",
}


def model_name(model: str) -> str:
    """Return what the report calls a model.

    >>> model_name("two_tower+dlrm"), model_name("most_popular")
    ('two-tower + DLRM', 'most popular')
    """
    return " + ".join(_MODELS.get(part, part.replace("_", " ")) for part in model.split("+"))


def task_name(task: str) -> str:
    """Return the heading of a task."""
    return _TASKS.get(task, task.replace("_", " ").capitalize())


def about_task(task: str) -> str:
    """Return what is asked in a task; empty for one that the report does not know."""
    return _ABOUT_TASKS.get(task, "")


def metric_name(metric: str, k: int | None = None) -> str:
    """Return the name of a metric at its cutoff.

    >>> metric_name("ndcg", 10), metric_name("log_loss")
    ('NDCG@10', 'log loss')
    """
    name = _METRICS.get(metric, metric.replace("_", " "))
    return name if k is None else f"{name}@{k}"


def figure(value: float | None, digits: int = 4) -> str:
    """Return a figure as text, a dash for none."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def interval(record: Record, digits: int = 4) -> str:
    """Return the ends of a record's interval as text."""
    if record.low is None or record.high is None:
        return "no interval"
    return f"{record.low:.{digits}f} to {record.high:.{digits}f}"


def chance(p_value: float | None) -> str:
    """Return a p-value as text.

    >>> chance(0.0123), chance(0.0004)
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
