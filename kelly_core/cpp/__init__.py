"""C++ for the five models: mel front end, chain, weights and checks, from templates."""
