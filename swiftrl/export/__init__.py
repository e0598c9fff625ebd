"""Models made ready for elsewhere: weights in few bits, checked and written as others read them."""
