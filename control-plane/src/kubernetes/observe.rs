//! Reduces objects of the API to the few facts that a life is judged by.
