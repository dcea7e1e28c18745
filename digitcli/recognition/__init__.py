"""Reading digits in pictures: what is written where, read as a stream, with a confidence."""
