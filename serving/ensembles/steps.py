"""The pieces that ensembles of a recommender share; the tensors that pass between them are declared once here."""

from __future__ import annotations

import onnx

from serving.contract.tensors import (
    BARRED,
    CART_ITEMS,
    DIVERSITY,
    EVENTS,
    EXCLUDE,
    ITEMS_OUT,
    PRICED,
    PRICED_NOW,
    PRICES,
    PRICES_NOW,
    REASON_ITEM_OUT,
    REASON_OUT,
    RECENT_ITEMS,
    RETRIEVERS_OUT,
    SCORES_OUT,
    TIMESTAMP,
    USER_ID,
    Sizes,
    StepModel,
    Tensor,
    k_tensor,
)
from serving.ensembles.served import Parts, Piece
from serving.pieces.encode import encode_graph
from serving.pieces.order import OrderRules, order_graph
from serving.pieces.rank import rank_graph
from serving.pieces.retrieve import retrieve_graph
from workflows.features.columns import QUERY_CATEGORICAL, QUERY_CONTINUOUS


class RecommenderSteps:
    """Encode, retrieve, rank and order, and their tensors.

    Args:
        sizes: the sizes that are fixed when a repository is written.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.k = k_tensor(sizes.max_k)
        width = sizes.recents
        self.categorical = Tensor("query_categorical", "int64", ("B", len(QUERY_CATEGORICAL) + sizes.own_ids))
        self.continuous = Tensor("query_continuous", "float32", ("B", len(QUERY_CONTINUOUS) + sizes.own_numbers))
        self.lists = Tensor("query_lists", "int64", ("B", 3 * width))
        self.recents = Tensor("recents", "int64", ("B", 3 * width))
        self.mean_price = Tensor("user_mean_price", "float32", ("B", 1))
        self.known = Tensor("known_user", "int64", ("B", 1))
        self.shopper = Tensor("shopper", "int64", ("B", 1))
        self.form = Tensor("form", "int64", ("B", 1))
        self.excluded = Tensor("excluded", "int64", ("B", "X"))
        self.cart_index = Tensor("cart_index", "int64", ("B", "N"))
        self.cart_counts = Tensor("cart_counts", "int64", ("B", "N"))
        self.candidates = Tensor("candidates", "int64", ("B", sizes.candidates))
        self.similarity = Tensor("retrieval_scores", "float32", ("B", sizes.candidates))
        self.brought = Tensor("brought_by", "int64", ("B", sizes.candidates))
        self.ranked = Tensor("ranking_scores", "float32", ("B", sizes.candidates))

    def pieces(self) -> tuple[Piece, ...]:
        """Return the chain that finds and orders items."""
        return self.encode(), self.retrieve(), self.rank(), self.order()

    def encode(self) -> Piece:
        """Return the piece that reads a request."""
        cart_items = Tensor("cart_items", "string", ("B", "N"), CART_ITEMS.meaning, optional=True)
        outputs = (
            self.categorical, self.continuous, self.lists, self.recents, self.mean_price, self.known, self.excluded, self.cart_index,
            self.cart_counts, self.form, self.shopper, PRICED_NOW, PRICES_NOW,
        )  # fmt: skip
        inputs = (USER_ID, RECENT_ITEMS, *EVENTS, EXCLUDE, cart_items, TIMESTAMP, BARRED, PRICED, PRICES)
        trim = {"cart_index": "cart_items", "cart_counts": "cart_items"}
        model = StepModel("recommend_encode", inputs, outputs, trim=trim)
        return Piece(model, lambda parts: encode_graph(model, parts.shop.snapshot, parts.shop.models.query))

    def retrieve(self) -> Piece:
        """Return the piece that finds candidates."""
        inputs = (self.categorical, self.continuous, self.lists, self.recents, self.excluded, self.shopper)
        model = StepModel("recommend_retrieve", inputs, (self.candidates, self.similarity, self.brought))

        def build(parts: Parts) -> onnx.ModelProto:
            shop, integers = parts.shop, parts.settings.target == "embedded"
            sizes = shop.sizes
            return retrieve_graph(
                model, shop.snapshot.catalogue, shop.models.retrieval, sizes.recents, sizes.candidates, integers=integers
            )

        return Piece(model, build)

    def rank(self) -> Piece:
        """Return the piece that scores candidates."""
        inputs = (
            self.categorical, self.continuous, self.recents, self.mean_price, self.candidates, self.similarity, PRICED_NOW, PRICES_NOW,
        )  # fmt: skip
        model = StepModel("recommend_rank", inputs, (self.ranked,))
        return Piece(
            model,
            lambda parts: rank_graph(model, parts.shop.snapshot.catalogue, parts.shop.models.ranking, parts.shop.sizes.recents),
        )

    def order(self) -> Piece:
        """Return the piece that orders candidates and says why."""
        inputs = (self.candidates, self.ranked, self.brought, self.recents, self.known, self.k, DIVERSITY)
        outputs = (ITEMS_OUT, SCORES_OUT, REASON_OUT, REASON_ITEM_OUT, RETRIEVERS_OUT)
        model = StepModel("recommend_order", inputs, outputs, batched=False)

        def build(parts: Parts) -> onnx.ModelProto:
            sizes, settings = parts.shop.sizes, parts.settings
            rules = OrderRules(sizes.candidates, sizes.recents, sizes.max_k, settings.diversity, settings.max_per_category)
            return order_graph(model, parts.shop.snapshot.catalogue, rules)

        return Piece(model, build)
