//! Windows go from threads to the reader and back, and nothing is lost.
