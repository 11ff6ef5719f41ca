"""The one idea: x = Sae(x) + LinearError(x) + NonlinearError(x), for arrays and for streams."""
