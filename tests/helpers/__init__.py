"""What tests share: oracles, scenes, examples of the explorers, JavaScript run by Node."""
