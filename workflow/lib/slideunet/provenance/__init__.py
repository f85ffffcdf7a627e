"""Where the results of a run come from: the workflow's commit, the machine, and what every rule took."""
