"""How the network of ``method="learned"`` is made: simulated decays, network, training."""
