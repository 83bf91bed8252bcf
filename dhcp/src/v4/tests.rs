use dhcproto::v4::{DhcpOption, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use rstest::rstest;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);

fn identity() -> Identity {
    Identity { mac: MAC, hostname: Some("web".to_owned()), random: || 1000 }
}

fn client(memory: Option<Memory>) -> Client {
    Client::new(identity(), memory, Moment::ZERO)
}

fn read(bytes: &[u8]) -> Message {
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

fn option(bytes: &[u8], code: OptionCode) -> Option<DhcpOption> {
    read(bytes).opts().get(code).cloned()
}

fn kind(bytes: &[u8]) -> MessageType {
    read(bytes).opts().msg_type().unwrap()
}

/// The answer to a question, of the kind and with the options given.
fn answer(question: &[u8], kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut message = read(question);
    message.set_opcode(Opcode::BootReply).set_htype(HType::Eth).set_yiaddr(OURS);
    message.opts_mut().clear();
    for option in [
        DhcpOption::MessageType(kind),
        DhcpOption::ServerIdentifier(SERVER),
        DhcpOption::AddressLeaseTime(120),
        DhcpOption::SubnetMask([255, 255, 255, 0].into()),
    ] {
        message.opts_mut().insert(option);
    }
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

#[track_caller]
fn broadcast(steps: &[Step]) -> Vec<u8> {
    match steps {
        [Step::Broadcast(message)] => message.clone(),
        other => panic!("{other:?}"),
    }
}

/// A client with a lease of 120 s, asked for at 0.
fn bound(options: &[DhcpOption]) -> (Client, Vec<Step>) {
    let mut client = client(None);
    let discover = broadcast(&client.tick(Moment::ZERO));
    let request = client.receive(&answer(&discover, MessageType::Offer, options), Moment::ZERO);
    let request = broadcast(&request);
    let steps = client.receive(&answer(&request, MessageType::Ack, options), Moment::ZERO);
    (client, steps)
}

#[test]
fn gets_what_the_server_offers() {
    let mut client = client(None);
    assert_eq!(client.wake(), Some(Moment::ZERO));
    let discover = broadcast(&client.tick(Moment::ZERO));
    assert_eq!(kind(&discover), MessageType::Discover);
    assert_eq!(discover.len(), 300);
    let id = DhcpOption::ClientIdentifier(vec![1, 2, 0, 0, 0, 0, 9]);
    assert_eq!(option(&discover, OptionCode::ClientIdentifier), Some(id));
    let name = DhcpOption::Hostname("web".to_owned());
    assert_eq!(option(&discover, OptionCode::Hostname), Some(name));

    let extra = [
        DhcpOption::Router(vec![[10, 0, 0, 254].into()]),
        DhcpOption::DomainNameServer(vec![SERVER]),
        DhcpOption::DomainName("lan".to_owned()),
        DhcpOption::InterfaceMtu(1400),
    ];
    let steps = client.receive(&answer(&discover, MessageType::Offer, &extra), seconds(1));
    let request = broadcast(&steps);
    assert_eq!(kind(&request), MessageType::Request);
    let asked = DhcpOption::RequestedIpAddress(OURS);
    assert_eq!(option(&request, OptionCode::RequestedIpAddress), Some(asked));
    assert!(client.lease().is_none());

    let steps = client.receive(&answer(&request, MessageType::Ack, &extra), seconds(1));
    let [Step::Use(lease)] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((lease.address, lease.prefix, lease.mtu), (OURS, 24, Some(1400)));
    let gateway = Some([10, 0, 0, 254].into());
    assert_eq!(lease.routes, [Route { to: Ipv4Net::default(), gateway }]);
    assert_eq!(lease.resolver, Resolver::new([SERVER.into()], ["lan".to_owned()]));
    assert_eq!(client.wake(), Some(seconds(61)));
}

#[test]
fn routes_of_a_server_count_more_than_its_router() {
    let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
    let routes = vec![
        (net("10.9.8.7/16"), [10, 0, 0, 2].into()),
        (net("169.254.0.0/16"), Ipv4Addr::UNSPECIFIED),
    ];
    let options = [
        DhcpOption::ClasslessStaticRoute(routes),
        DhcpOption::Router(vec![[10, 0, 0, 254].into()]),
    ];
    let (client, _) = bound(&options);
    let expected = [
        Route { to: net("10.9.0.0/16"), gateway: Some([10, 0, 0, 2].into()) },
        Route { to: net("169.254.0.0/16"), gateway: None },
    ];
    assert_eq!(client.lease().unwrap().routes, expected);
}

#[test]
fn asks_again_and_waits_longer_each_time() {
    let mut client = client(None);
    let mut now = Moment::ZERO;
    let mut waits = Vec::new();
    for _ in 0..7 {
        broadcast(&client.tick(now));
        assert!(client.tick(now).is_empty(), "it is not time yet");
        let next = client.wake().unwrap();
        waits.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(waits, [4, 8, 16, 32, 64, 64, 64]);
}

#[test]
fn renews_from_half_of_its_time_and_rebinds_at_seven_eighths() {
    let (mut client, _) = bound(&[]);
    assert!(client.tick(seconds(59)).is_empty());
    let steps = client.tick(seconds(60));
    let [Step::Send { to: SERVER, message }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(read(message).ciaddr(), OURS);
    assert_eq!(option(message, OptionCode::ServerIdentifier), None);
    let mut renewals = 1;
    while client.wake().unwrap() < seconds(105) {
        let steps = client.tick(client.wake().unwrap());
        assert!(matches!(steps.as_slice(), [Step::Send { .. }]), "{steps:?}");
        renewals += 1;
    }
    assert!((2..6).contains(&renewals), "{renewals} renewals");
    let question = broadcast(&client.tick(seconds(105)));

    // Any server may answer now, and time counts from the question.
    let other = DhcpOption::ServerIdentifier([10, 0, 0, 2].into());
    let steps = client.receive(&answer(&question, MessageType::Ack, &[other]), seconds(106));
    assert!(matches!(steps.as_slice(), [Step::Use(_)]), "{steps:?}");
    assert_eq!(client.wake(), Some(seconds(165)));
}

#[test]
fn a_lease_that_has_run_out_is_lost_and_another_sought() {
    let (mut client, _) = bound(&[]);
    let mut steps = Vec::new();
    while !steps.contains(&Step::Lose) {
        let next = client.wake().unwrap();
        assert!(next <= seconds(120), "{next:?}");
        steps = client.tick(next);
    }
    let [Step::Lose, Step::Broadcast(discover)] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(kind(discover), MessageType::Discover);
    let hint = DhcpOption::RequestedIpAddress(OURS);
    assert_eq!(option(discover, OptionCode::RequestedIpAddress), Some(hint));
    assert!(client.lease().is_none());
}

#[test]
fn a_refusal_ends_a_lease() {
    let (mut client, _) = bound(&[]);
    let steps = client.tick(seconds(60));
    let [Step::Send { message, .. }] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(client.receive(&answer(message, MessageType::Nak, &[]), seconds(60)), [Step::Lose]);
    let discover = broadcast(&client.tick(client.wake().unwrap()));
    assert_eq!(option(&discover, OptionCode::RequestedIpAddress), None);
}

#[test]
fn asks_for_the_address_it_had() {
    let mut client = client(Some(Memory { address: OURS, ours: true }));
    let question = broadcast(&client.tick(Moment::ZERO));
    assert_eq!(kind(&question), MessageType::Request);
    assert_eq!(option(&question, OptionCode::ServerIdentifier), None);
    let steps = client.receive(&answer(&question, MessageType::Ack, &[]), seconds(1));
    assert!(matches!(steps.as_slice(), [Step::Use(_)]), "{steps:?}");
}

#[rstest]
#[case::nobody_answers(false)]
#[case::it_may_not(true)]
fn seeks_another_if_it_cannot_have_that(#[case] refused: bool) {
    let mut client = client(Some(Memory { address: OURS, ours: true }));
    let question = broadcast(&client.tick(Moment::ZERO));
    if refused {
        client.receive(&answer(&question, MessageType::Nak, &[]), seconds(1));
    } else {
        broadcast(&client.tick(client.wake().unwrap()));
    }
    let next = broadcast(&client.tick(client.wake().unwrap()));
    assert_eq!(kind(&next), MessageType::Discover);
}

#[test]
fn an_address_that_was_given_back_is_only_wished_for() {
    let mut client = client(Some(Memory { address: OURS, ours: false }));
    let question = broadcast(&client.tick(Moment::ZERO));
    assert_eq!(kind(&question), MessageType::Discover);
    let hint = DhcpOption::RequestedIpAddress(OURS);
    assert_eq!(option(&question, OptionCode::RequestedIpAddress), Some(hint));
}

#[test]
fn gives_back_what_it_has() {
    let (mut client, _) = bound(&[]);
    let steps = client.release();
    let [Step::Send { to: SERVER, message }, Step::Lose] = steps.as_slice() else {
        panic!("{steps:?}")
    };
    assert_eq!(kind(message), MessageType::Release);
    assert_eq!(read(message).ciaddr(), OURS);
    assert_eq!(client.wake(), None);
    assert!(client.release().is_empty());
}

#[rstest]
#[case::no_time(DhcpOption::AddressLeaseTime(0))]
#[case::odd_mask(DhcpOption::SubnetMask([255, 0, 255, 0].into()))]
#[case::server_of_nowhere(DhcpOption::ServerIdentifier(Ipv4Addr::UNSPECIFIED))]
fn an_offer_that_makes_no_sense_is_none(#[case] option: DhcpOption) {
    let mut client = client(None);
    let discover = broadcast(&client.tick(Moment::ZERO));
    let offer = answer(&discover, MessageType::Offer, &[option]);
    assert!(client.receive(&offer, Moment::ZERO).is_empty());
}

#[test]
fn an_answer_to_somebody_else_is_none() {
    let mut client = client(None);
    let discover = broadcast(&client.tick(Moment::ZERO));
    let offer = read(&answer(&discover, MessageType::Offer, &[]));
    let received = |client: &mut Client, message: &Message| {
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        client.receive(&bytes, Moment::ZERO)
    };
    let mut other = offer.clone();
    other.set_xid(1);
    assert!(received(&mut client, &other).is_empty());
    let mut other = offer.clone();
    other.set_chaddr(&[2, 0, 0, 0, 0, 1]);
    assert!(received(&mut client, &other).is_empty());
    let mut other = offer.clone();
    other.set_opcode(Opcode::BootRequest);
    assert!(received(&mut client, &other).is_empty());
    let mut other = offer.clone();
    other.set_yiaddr([127, 0, 0, 1]);
    assert!(received(&mut client, &other).is_empty());
    assert!(!received(&mut client, &offer).is_empty());
}

#[test]
fn times_that_make_no_sense_are_the_standards() {
    for (t1, t2) in [(0, 0), (200, 300), (110, 100), (u32::MAX, u32::MAX)] {
        let (client, _) = bound(&[DhcpOption::Renewal(t1), DhcpOption::Rebinding(t2)]);
        let lease = client.lease().unwrap();
        assert!(lease.renewal < lease.rebinding, "{t1} {t2}: {lease:?}");
        assert!(lease.rebinding < seconds(120), "{t1} {t2}: {lease:?}");
    }
    let (client, _) = bound(&[DhcpOption::Renewal(5), DhcpOption::Rebinding(9)]);
    assert_eq!(client.wake(), Some(seconds(5)));
    let (client, _) = bound(&[DhcpOption::AddressLeaseTime(u32::MAX)]);
    assert_eq!(client.wake(), None);
}
