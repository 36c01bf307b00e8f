"""T2*/R2* estimation from multi-echo magnitude images: numbers in, numbers out."""
