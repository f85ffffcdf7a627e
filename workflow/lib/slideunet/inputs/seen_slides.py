"""Slides that a model from elsewhere has learned from: they can be predicted, but they are no test of it."""

from collections.abc import Container

import pandas as pd

from slideunet.errors import InputError


def mark_seen(table: pd.DataFrame, contents: Container[str]) -> pd.DataFrame:
    """Put slides that a model has learned from on the training side.

    `split.split_groups` then takes the rest of their group along.

    Parameters
    ----------
    table : pandas.DataFrame
        With slide, split ("" = to be assigned) and content (sha256 of the pixels).
    contents : container of str
        The sha256 of the pixels of the slides that the model was trained and validated on.

    Returns
    -------
    pandas.DataFrame
        The table with their `split` filled in.

    Raises
    ------
    InputError
        When one of them is given as test.
    """
    seen = table["content"].map(lambda content: content in contents)
    problems = [
        f"slide {slide} is given as test, but the model of model.weights or training.init_from was trained "
        "or validated on its pixels. It would count as a success what was learned by heart. Give it no side, "
        "or another model."
        for slide in table.loc[seen & (table["split"] == "test"), "slide"]
    ]
    if problems:
        raise InputError(problems)
    return table.assign(split=table["split"].mask(seen & (table["split"] == ""), "train"))
