"""Loss curves: their data, how they are plotted as characters, and the widget that shows them."""
