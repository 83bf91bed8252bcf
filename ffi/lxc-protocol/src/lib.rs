//! LXC's command protocol, both sides.
