"""The built-in feature builders through the kit."""

from __future__ import annotations

from engine.testing import FeatureConformance


class TestCalendar(FeatureConformance):
    component = "calendar"


class TestCalendarWaves(FeatureConformance):
    component = "calendar"
    params = {"fourier": {"period": 7, "order": 2}, "trend": True, "cyclic": ["month"]}


class TestHolidays(FeatureConformance):
    component = "calendar"
    params = {"holidays": {"country": "US", "before": 1, "days_to": 30}}


class TestLags(FeatureConformance):
    component = "lags"


class TestLagsOfEverything(FeatureConformance):
    component = "lags"
    params = {
        "columns": ["y", "temperature", "price"],
        "rolling": {"median": [5], "max": [3], "quantile": {0.9: [7]}},
        "ewm": [0.3],
        "zero_share": [7],
        "since_last_sale": True,
        "diff": [[0, 7]],
    }


class TestLagsOfGroups(FeatureConformance):
    component = "lags"
    params = {
        "group": {"by": ["kind"], "of": "rest"},
        "seasonal": {"period": 7.3, "count": 2, "weekday": ["promo"], "change": {"median": [5]}},
        "rolling": {"median": [5]},
    }


class TestPromo(FeatureConformance):
    component = "promo"


class TestPromoOfGroups(FeatureConformance):
    component = "promo"
    params = {"price": "price", "group": {"by": ["kind"]}, "discount": [7], "flags": "promo"}


class TestStatic(FeatureConformance):
    component = "static"


class TestStaticOrdinal(FeatureConformance):
    component = "static"
    params = {"columns": ["store", "kind"], "encode": "ordinal"}
