//! Safe calls into libcrun, each in a short-lived worker process.
