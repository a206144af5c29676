"""The latent world: who the shoppers are, what the items are like, when prices fall. Nothing here has happened yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workflows.simulate.settings import SimulateSettings

DIMENSIONS: Final = 8
"""Length of the latent vectors of tastes and items."""
OCCASIONS: Final = 6
"""Kinds of shopping trip (for oneself, a gift, a bargain hunt, ...), each of which bends taste and price level its own way."""
MEMORY: Final = 20
"""How many last views a shopper remembers, and is a little tired of, on a later day."""

_MEAN_LOG_PRICE: Final = 3.4
_ZIPF_CATEGORY: Final = 0.4
_ZIPF_ITEM: Final = 0.45
_BRAND_SPREAD: Final = 0.46
_ITEM_SPREAD: Final = 0.22
_OCCASION_SPREAD: Final = 0.40
_MEAN_STAY_DAYS: Final = 110.0
_CAMPAIGN_SHARE: Final = 0.35

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Users:
    """Shoppers; row number = user code. U shoppers, D latent dimensions, C categories, O occasions."""

    join_day: Ints
    """[U] first day as a customer; negative for those who were there before the log begins."""
    churn_day: Ints
    """[U] first day on which the shopper never comes again."""
    sessions_per_day: Doubles
    """[U] mean sessions on an average day while active."""
    clock_shift: Doubles
    """[U] hours by which the shopper's day runs late (early when negative)."""
    price_level: Floats
    """[U] log price that suits the shopper best."""
    price_sensitivity: Floats
    """[U] how much a price away from that level hurts."""
    conversion: Doubles
    """[U] tendency to put into the cart and to buy, in logits."""
    taste: Floats
    """[U, D] what the shopper likes in items."""
    category_logits: Floats
    """[U, C] log weight of each category as a reason to come."""
    occasion_share: Floats
    """[U, O] how often each occasion brings the shopper; rows sum to 1."""


@dataclass(frozen=True)
class Items:
    """The catalogue; row number = item code. I items, D latent dimensions."""

    category: Ints
    """[I] category code."""
    brand: Ints
    """[I] brand code."""
    launch_day: Ints
    """[I] first day on sale; negative for what was on sale before the log begins."""
    base_price: Doubles
    """[I] price outside campaigns, rounded to cents."""
    appeal: Doubles
    """[I] log popularity, a power law in the rank within the category."""
    novelty: Doubles
    """[I] extra log popularity on the launch day; it fades."""
    drift_size: Doubles
    """[I] amplitude of the slow change of popularity."""
    drift_days: Doubles
    """[I] period of that change."""
    drift_phase: Doubles
    """[I] phase of that change, radians."""
    quality: Doubles
    """[I] how well the item keeps what it promises, in logits of the purchase."""
    vector: Floats
    """[I, D] brand style plus the item's own; the part of taste that decides within a category."""


@dataclass(frozen=True)
class Categories:
    """Categories; row number = category code."""

    popularity: Floats
    """[C] log weight for everybody."""
    peak_hour: Doubles
    """[C] UTC hour at which people look here most."""
    centre: Floats
    """[C, D] the taste to which the category appeals."""


@dataclass(frozen=True)
class Occasions:
    """Occasions of a session; row number = occasion code."""

    taste_shift: Floats
    """[O, D] added to the shopper's taste."""
    price_shift: Floats
    """[O] added to the shopper's price level."""


@dataclass(frozen=True)
class Promotions:
    """One row for each item of each campaign."""

    campaign: Ints
    """Campaign number."""
    item: Ints
    """Item code."""
    first_day: Ints
    """First day of the lower price."""
    last_day: Ints
    """Last day of the lower price."""
    discount: Doubles
    """Share taken off the base price."""


@dataclass(frozen=True)
class World:
    """Everything that is true before anybody comes to shop."""

    taste_weight: float
    users: Users
    items: Items
    categories: Categories
    occasions: Occasions
    promotions: Promotions


def make_world(settings: SimulateSettings, rng: np.random.Generator) -> World:
    """Draw a world.

    Args:
        settings: sizes and strengths.
        rng: the stream that decides it.
    """
    items = _make_items(settings, rng)
    categories = _make_categories(settings.category_count, items.category, rng)
    occasions = Occasions(
        taste_shift=_normal(rng, _OCCASION_SPREAD, OCCASIONS, DIMENSIONS),
        price_shift=_normal(rng, 0.35, OCCASIONS),
    )
    users = _make_users(settings, categories, rng)
    return World(settings.taste, users, items, categories, occasions, _make_promotions(settings, items, rng))


def _normal(rng: np.random.Generator, spread: float, *shape: int) -> Floats:
    return (spread * rng.standard_normal(shape)).astype(np.float32)


def _make_categories(count: int, of_items: Ints, rng: np.random.Generator) -> Categories:
    size = np.bincount(of_items, minlength=count)  # more people come for what has more to offer
    return Categories(
        popularity=(0.5 * np.log(size) - _ZIPF_CATEGORY * np.log1p(rng.permutation(count))).astype(np.float32),
        peak_hour=rng.uniform(0.0, 24.0, count),
        centre=_normal(rng, 1.0 / np.sqrt(DIMENSIONS), count, DIMENSIONS),
    )


def _make_items(settings: SimulateSettings, rng: np.random.Generator) -> Items:
    count, categories = settings.items, settings.category_count
    category = _item_categories(count, categories, rng)
    brand, brand_style, brand_price = _item_brands(settings, category, rng)
    category_price = 0.35 * rng.standard_normal(categories)
    log_price = _MEAN_LOG_PRICE + category_price[category] + brand_price[brand] + 0.45 * rng.standard_normal(count)
    later = rng.random(count) < settings.launched
    later[:categories] = False  # every category has something to sell on the first day
    launch = np.where(later, rng.integers(1, settings.days, count), -rng.integers(30, 720, count))
    return Items(
        category=category,
        brand=brand,
        launch_day=launch,
        base_price=np.round(np.exp(np.clip(log_price, 0.0, 8.0)), 2),
        appeal=_power_law(category, rng),
        novelty=rng.gamma(2.0, 0.45, count),
        drift_size=settings.drift * rng.gamma(2.0, 0.3, count),
        drift_days=rng.uniform(25.0, 120.0, count),
        drift_phase=rng.uniform(0.0, 2.0 * np.pi, count),
        quality=0.7 * rng.standard_normal(count),
        vector=brand_style[brand] + _normal(rng, _ITEM_SPREAD, count, DIMENSIONS),
    )


def _item_categories(count: int, categories: int, rng: np.random.Generator) -> Ints:
    """Categories of unequal size, none empty: the first items take one each."""
    weight = 1.0 / (1.0 + np.arange(categories)) ** 0.4
    rest = rng.choice(categories, size=count - categories, p=weight / weight.sum())
    both: Ints = np.concatenate([np.arange(categories), rest]).astype(np.int64)
    return both


def _item_brands(settings: SimulateSettings, category: Ints, rng: np.random.Generator) -> tuple[Ints, Floats, Doubles]:
    """Brand of each item, with style and price level of each brand; a brand sells in few categories."""
    brands, categories = settings.brand_count, settings.category_count
    home = rng.integers(0, categories, (brands, 3))
    order = np.argsort(home.ravel(), kind="stable")
    sellers, home_sorted = order // 3, home.ravel()[order]
    first = np.searchsorted(home_sorted, category, side="left")
    last = np.searchsorted(home_sorted, category, side="right")
    picked = first + np.floor(rng.random(len(category)) ** 1.5 * (last - first)).astype(np.int64)
    anyone = rng.integers(0, brands, len(category))
    brand = np.where(last > first, sellers[np.minimum(picked, len(sellers) - 1)], anyone)
    return brand.astype(np.int64), _normal(rng, _BRAND_SPREAD, brands, DIMENSIONS), 0.35 * rng.standard_normal(brands)


def _power_law(category: Ints, rng: np.random.Generator) -> Doubles:
    """Log popularity that falls with the log of a random rank within the category (Zipf)."""
    order = np.lexsort((rng.random(len(category)), category))
    sorted_category = category[order]
    rank = np.empty(len(category))
    rank[order] = np.arange(len(category)) - np.searchsorted(sorted_category, sorted_category, side="left")
    return -_ZIPF_ITEM * np.log1p(rank)


def _make_users(settings: SimulateSettings, categories: Categories, rng: np.random.Generator) -> Users:
    count = settings.shoppers
    later = rng.random(count) < settings.joined
    join = np.where(later, rng.integers(0, settings.days, count), -rng.integers(1, 365, count))
    stay = np.ceil(rng.exponential(_MEAN_STAY_DAYS, count)).astype(np.int64)
    activity = np.minimum(rng.lognormal(-0.5, 1.0, count), 20.0)  # mean of the lognormal: 1
    taste = _normal(rng, 1.0, count, DIMENSIONS)
    own_reasons = rng.gumbel(0.0, 0.7, (count, settings.category_count)).astype(np.float32)
    liking = np.einsum("ud,cd->uc", taste, categories.centre)
    return Users(
        join_day=join,
        churn_day=np.maximum(join, 0) + stay,  # of those who were there before, only who still comes is of interest
        sessions_per_day=activity * settings.sessions_per_week / 7.0,
        clock_shift=1.5 * rng.standard_normal(count),
        price_level=(_MEAN_LOG_PRICE + 0.6 * rng.standard_normal(count)).astype(np.float32),
        price_sensitivity=rng.gamma(3.0, 0.7, count).astype(np.float32),
        conversion=0.9 * rng.standard_normal(count),
        taste=taste,
        category_logits=categories.popularity + np.float32(1.3) * liking.astype(np.float32) + own_reasons,
        occasion_share=rng.dirichlet(np.full(OCCASIONS, 0.7), count).astype(np.float32),
    )


def _make_promotions(settings: SimulateSettings, items: Items, rng: np.random.Generator) -> Promotions:
    """Campaigns: a part of one category is cheaper for 3 to 7 days; each category has one about every four weeks."""
    count = int(np.ceil(settings.days * settings.category_count / 28.0)) if settings.promotions else 0
    category = rng.integers(0, settings.category_count, count)
    first = rng.integers(0, settings.days, count)
    length = rng.integers(3, 8, count)
    discount = np.round(rng.uniform(0.10, 0.40, count), 2)
    by_category = np.argsort(items.category, kind="stable")
    bounds = np.searchsorted(items.category[by_category], np.arange(settings.category_count + 1))
    members = [by_category[bounds[c] : bounds[c + 1]] for c in category]
    chosen = [m[rng.random(len(m)) < _CAMPAIGN_SHARE] for m in members]
    campaign = np.repeat(np.arange(count), [len(m) for m in chosen])
    return Promotions(
        campaign=campaign,
        item=np.concatenate([*chosen, np.empty(0, dtype=np.int64)]).astype(np.int64),
        first_day=first[campaign],
        last_day=(first + length - 1)[campaign],
        discount=discount[campaign],
    )
