//! Where everything lies under one root prefix.
