//! Users, groups, roles, tokens and tickets as PVE keeps them.
