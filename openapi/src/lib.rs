//! What a client can see: newtypes, PVE's method table, the parameter check, answers, the document.
