"""Native half of scikit-unlearn; private to that package, which pins its version."""
