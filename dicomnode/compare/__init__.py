"""The methods set side by side on any series, laid out as in the paper."""
