"""Lines of handwritten numbers, composed on the fly, with exact labels and boxes. Free of torch."""
