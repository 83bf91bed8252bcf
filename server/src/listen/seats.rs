//! How many connections one machine may hold, so that one that opens many and says nothing leaves
//! room for others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use super::Peer;

/// Enough for a proxy in front of us and for any browser.
const MAX_OF_ONE: usize = 200;

#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// Held as long as the connection is.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    machine: Option<IpAddr>,
}

impl Seats {
    /// `None` if it has as many as it may. Root's own socket is not counted.
    pub(super) fn take(&self, peer: Peer) -> Option<Seat> {
        let machine = match peer {
            Peer::Network(address) => Some(machine(address.ip())),
            Peer::Local { .. } => None,
        };
        if let Some(machine) = machine {
            let mut taken = self.0.lock().expect("nothing panics while it holds the lock");
            let count = taken.entry(machine).or_default();
            if *count >= MAX_OF_ONE {
                return None;
            }
            *count += 1;
        }
        Some(Seat { seats: self.clone(), machine })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(machine) = self.machine else { return };
        let mut taken = self.seats.0.lock().expect("nothing panics while it holds the lock");
        if let Some(count) = taken.get_mut(&machine) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&machine);
            }
        }
    }
}

/// Of IPv6 the network: a machine has all addresses of one.
fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        plain @ IpAddr::V4(_) => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Network((address.parse::<IpAddr>().unwrap(), 1).into())
    }

    #[test]
    fn one_machine_leaves_room_for_others() {
        let seats = Seats::default();
        let held: Vec<_> = (0..MAX_OF_ONE).map(|_| seats.take(peer("192.0.2.1"))).collect();

        assert!(held.iter().all(Option::is_some));
        assert!(seats.take(peer("192.0.2.1")).is_none());
        assert!(seats.take(peer("::ffff:192.0.2.1")).is_none());
        assert!(seats.take(peer("192.0.2.2")).is_some());
        assert!(seats.take(Peer::Local { uid: 0 }).is_some());
        drop(held);
        assert!(seats.take(peer("192.0.2.1")).is_some());
        assert!(seats.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_network_is_one_machine() {
        assert_eq!(
            machine("2001:db8::1".parse().unwrap()),
            machine("2001:db8::ffff:2".parse().unwrap())
        );
        assert_ne!(
            machine("2001:db8::1".parse().unwrap()),
            machine("2001:db8:0:1::1".parse().unwrap())
        );
    }
}
