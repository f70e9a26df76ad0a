"""Draws the pictures of the documentation, each for light and for dark pages: python draw.py"""

import charts
import diagrams
import matplotlib as mpl

if __name__ == "__main__":
    mpl.use("Agg")
    charts.draw_all()
    diagrams.draw_all()
