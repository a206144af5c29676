"""UCI Online Retail: the order lines of a gift wholesaler (https://archive.ics.uci.edu/dataset/352/online+retail, and II, 502)."""

from __future__ import annotations

from typing import ClassVar, Final

import polars as pl

from workflows.events.instants import ISO
from workflows.events.schema import ASIDE, DUPLICATE_KEY, PURCHASE, REFUND
from workflows.events.sources.base import FileSource, Names

NOT_A_PRODUCT: Final = "not a product"
"""Reason of the lines that book postage, fees, discounts, samples and corrections."""

_PRODUCT_CODES: Final = r"^(?:\d{5}|DCGS|gift_|PADS$)"


class OnlineRetail(FileSource):
    """One purchase for each order line, one refund for each returned one; the invoice is the session.

    A line is a refund when its invoice number starts with C or its quantity is negative; its quantity then counts as positive.
    A line without customer belongs to an anonymous basket. A price of 0 means that no price was charged (gifts, stock
    corrections) and becomes unknown, so that it distorts no price feature.

    A stock code is a product when it starts with five digits, DCGS (the shop's own goods) or gift_ (vouchers), or is PADS. All
    other codes (POST, DOT, M, D, S, C2, BANK CHARGES, ...) are bookkeeping: set aside in the quarantine, but not bad.

    Lines of one invoice may rightly repeat an item, so only lines that agree in quantity, price and description too are duplicates.
    """

    kind = "online_retail"
    required: ClassVar[Names] = {
        "user_id": ("CustomerID", "Customer ID"),
        "item_id": ("StockCode",),
        "session_id": ("InvoiceNo", "Invoice"),
        "timestamp": ("InvoiceDate",),
        "price": ("UnitPrice", "Price"),
        "quantity": ("Quantity",),
    }
    own: ClassVar[Names] = {"description": ("Description",), "country": ("Country",)}
    timestamp_formats = ("%m/%d/%Y %H:%M", ISO)
    duplicate_key: ClassVar[tuple[str, ...]] = (*DUPLICATE_KEY, "quantity", "price", "description")
    aside_reasons: ClassVar[frozenset[str]] = FileSource.aside_reasons | {NOT_A_PRODUCT}

    @property
    def anonymous_baskets(self) -> bool:
        """A line without customer belongs to an anonymous basket."""
        return True

    def shape(self, events: pl.LazyFrame) -> pl.LazyFrame:
        """Tell refunds from purchases, and bookkeeping from products."""
        returned = pl.col("session_id").str.starts_with("C") | pl.col("quantity").str.starts_with("-")
        booking = ~pl.col("item_id").str.contains(_PRODUCT_CODES)
        free = pl.col("price").str.contains(r"^0+(?:[.,]0*)?$")
        return events.with_columns(
            pl.when(returned.fill_null(value=False)).then(pl.lit(REFUND)).otherwise(pl.lit(PURCHASE)).alias("event_type"),
            pl.when(free.fill_null(value=False)).then(pl.lit(None, pl.String)).otherwise("price").alias("price"),
            pl.when(booking).then(pl.lit(NOT_A_PRODUCT)).alias(ASIDE),
        )
