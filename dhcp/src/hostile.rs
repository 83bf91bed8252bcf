//! Whoever is on the same network may send whatever they like, whenever they like.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::{Identity, Moment, frame, seconds, sift, v4, v6};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

fn identity() -> Identity {
    Identity { mac: MAC, hostname: None, random: || 7 }
}

/// The fixed part of an answer to us, and options of a right shape with anything in them.
fn v4_answer() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop::sample::select(vec![
        1_u8, 3, 6, 15, 26, 50, 51, 52, 53, 54, 58, 59, 80, 119, 121, 151, 255,
    ]);
    let data = prop_oneof![vec(any::<u8>(), 0..9), Just(vec![2]), Just(vec![5]), Just(vec![6])];
    let options = vec((codes, data), 0..12);
    (any::<[u8; 4]>(), options).prop_map(|(yiaddr, options)| {
        let mut bytes = vec![0; 236];
        bytes[..3].copy_from_slice(&[2, 1, 6]);
        bytes[4..8].copy_from_slice(&7_u32.to_be_bytes());
        bytes[16..20].copy_from_slice(&yiaddr);
        bytes[28..34].copy_from_slice(&MAC);
        bytes.extend([99, 130, 83, 99]);
        for (code, data) in options {
            bytes.push(code);
            bytes.push(u8::try_from(data.len()).unwrap_or_default());
            bytes.extend(data);
        }
        bytes
    })
}

fn v6_option(code: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap_or_default();
    [&code.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn v6_answer() -> impl Strategy<Value = Vec<u8>> {
    let small =
        (prop::sample::select(vec![1_u16, 2, 3, 5, 9, 13, 23, 24, 25]), vec(any::<u8>(), 0..40));
    let options = vec(small.prop_map(|(code, data)| v6_option(code, &data)), 0..8);
    (prop::sample::select(vec![2_u8, 7]), options).prop_map(|(kind, options)| {
        let client = v6_option(1, &[&[0, 3, 0, 1], &MAC[..]].concat());
        let server = v6_option(2, &[0, 3, 0, 1, 1, 1, 1, 1, 1, 1]);
        let address = [&[0xfd; 16][..], &[0, 0, 1, 0, 0, 0, 2, 0]].concat();
        let inner = [vec![0, 0, 0, 9], vec![0; 8], v6_option(5, &address), options.concat()];
        let association = v6_option(3, &inner.concat());
        [vec![kind, 0, 0, 7], client, server, association, options.concat()].concat()
    })
}

proptest! {
    #[test]
    fn any_packet_is_read_or_is_none(bytes in vec(any::<u8>(), 0..700)) {
        let _message = frame::to_client(&bytes);
        let _sifted = (sift::v4(&bytes), sift::v6(&bytes));
        let mut four = v4::Client::new(identity(), None, Moment::ZERO);
        four.tick(Moment::ZERO);
        prop_assert!(four.receive(&bytes, Moment::ZERO).is_empty());
        let mut six = v6::Client::new(identity(), None, Moment::ZERO);
        six.tick(Moment::ZERO);
        prop_assert!(six.receive(&bytes, Moment::ZERO).is_empty());
    }

    /// However it is answered, a client sends no more than a message a second on its own, and what it
    /// holds has an end.
    #[test]
    fn no_answer_makes_a_v4_client_busy(answers in vec((v4_answer(), 0_u32..50), 1..30)) {
        let mut client = v4::Client::new(identity(), None, Moment::ZERO);
        let mut now = Moment::ZERO;
        for (answer, later) in answers {
            now += seconds(later);
            let first = client.tick(now).len();
            prop_assert!(first <= 2);
            prop_assert!(client.wake().is_none_or(|wake| wake > now));
            prop_assert!(client.receive(&answer, now).len() <= 2);
            prop_assert!(client.lease().is_some() || client.wake().is_some());
        }
    }

    #[test]
    fn no_answer_makes_a_v6_client_busy(answers in vec((v6_answer(), 0_u32..50), 1..30)) {
        let mut client = v6::Client::new(identity(), None, Moment::ZERO);
        let mut now = Moment::ZERO;
        for (answer, later) in answers {
            now += seconds(later);
            prop_assert!(client.tick(now).len() <= 2);
            prop_assert!(client.wake().is_none_or(|wake| wake > now));
            prop_assert!(client.receive(&answer, now).len() <= 2);
            prop_assert!(client.lease().is_some() || client.wake().is_some());
        }
    }
}
