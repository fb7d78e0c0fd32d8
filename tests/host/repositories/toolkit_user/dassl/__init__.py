raise ImportError("this copy of Dassl pins an old PyTorch")
