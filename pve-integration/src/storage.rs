//! storage.cfg and volumes of `dir` storages.
