"""What a call is to its user: apps, contexts, many calls at once, where their time goes."""
