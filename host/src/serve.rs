//! All of it as one service.
