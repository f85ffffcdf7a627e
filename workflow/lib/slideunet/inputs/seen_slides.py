"""Slides that a reused model was trained on: they can be predicted, but are no test of it."""

from collections.abc import Container

import pandas as pd

from slideunet.errors import InputError


def mark_seen(table: pd.DataFrame, contents: Container[str]) -> pd.DataFrame:
    """Assign slides that a model was trained on to the training split.

    `split.split_groups` then does the same with the rest of their group.

    Parameters
    ----------
    table : pandas.DataFrame
        With slide, split ("" = to be assigned) and content (sha256 of the pixels).
    contents : container of str
        sha256 of the pixels of the slides that the model was trained and validated on.

    Returns
    -------
    pandas.DataFrame
        The table with the `split` of these slides filled in.

    Raises
    ------
    InputError
        When one of them has the given split test.
    """
    seen = table["content"].map(lambda content: content in contents)
    problems = [
        f"slide {slide} has the split 'test', but the model of model.weights or training.init_from was "
        "trained or validated on its pixels. Scoring it would overstate accuracy. Clear its split, or use "
        "another model."
        for slide in table.loc[seen & (table["split"] == "test"), "slide"]
    ]
    if problems:
        raise InputError(problems)
    return table.assign(split=table["split"].mask(seen & (table["split"] == ""), "train"))
