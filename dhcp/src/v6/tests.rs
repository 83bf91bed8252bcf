use dhcproto::v6::{
    DhcpOption, DhcpOptions, IAAddr, IANA, Message, MessageType, OptionCode, Status, StatusCode,
};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use rstest::rstest;

use super::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const OURS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x50);

fn client() -> Client {
    let identity = Identity { mac: MAC, hostname: Some("web.lan".to_owned()), random: || 1000 };
    Client::new(identity, None, Moment::ZERO)
}

fn read(bytes: &[u8]) -> Message {
    Message::decode(&mut Decoder::new(bytes)).unwrap()
}

#[track_caller]
fn sent(steps: &[Step]) -> Vec<u8> {
    match steps {
        [Step::Send(message)] => message.clone(),
        other => panic!("{other:?}"),
    }
}

fn address(valid: u32) -> DhcpOption {
    let preferred_life = valid / 2;
    DhcpOption::IAAddr(IAAddr {
        addr: OURS,
        preferred_life,
        valid_life: valid,
        opts: DhcpOptions::new(),
    })
}

fn status(status: Status) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode { status, msg: "no".to_owned() })
}

fn answer(question: &[u8], kind: MessageType, t1: u32, inner: &[DhcpOption]) -> Vec<u8> {
    let mut message = read(question);
    message.set_msg_type(kind);
    let Some(DhcpOption::IANA(asked)) = message.opts().get(OptionCode::IANA).cloned() else {
        panic!("it asks for no address")
    };
    let client = message.opts().get(OptionCode::ClientId).cloned().unwrap();
    let opts = inner.iter().cloned().collect();
    let given = DhcpOption::IANA(IANA { id: asked.id, t1, t2: 0, opts });
    let dns = DhcpOption::DomainNameServers(vec!["fd00::1".parse().unwrap()]);
    let options = [client, DhcpOption::ServerId(SERVER.to_vec()), given, dns];
    message.set_opts(options.into_iter().collect());
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn bound() -> Client {
    let mut client = client();
    let solicit = sent(&client.tick(Moment::ZERO));
    let offer = answer(&solicit, MessageType::Advertise, 0, &[address(200)]);
    let request = sent(&client.receive(&offer, Moment::ZERO));
    let reply = answer(&request, MessageType::Reply, 0, &[address(200)]);
    let steps = client.receive(&reply, Moment::ZERO);
    assert!(matches!(steps.as_slice(), [Step::Use(_)]), "{steps:?}");
    client
}

#[test]
fn gets_what_the_server_offers() {
    let mut client = client();
    let solicit = sent(&client.tick(Moment::ZERO));
    assert_eq!(read(&solicit).msg_type(), MessageType::Solicit);
    let id = DhcpOption::ClientId(vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 9]);
    assert_eq!(read(&solicit).opts().get(OptionCode::ClientId), Some(&id));

    let offer = answer(&solicit, MessageType::Advertise, 0, &[address(200)]);
    let request = sent(&client.receive(&offer, seconds(1)));
    assert_eq!(read(&request).msg_type(), MessageType::Request);
    let steps =
        client.receive(&answer(&request, MessageType::Reply, 0, &[address(200)]), seconds(1));
    let [Step::Use(lease)] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((lease.address, lease.valid), (OURS, Some(seconds(200))));
    assert_eq!(lease.resolver, Resolver::new(["fd00::1".parse().unwrap()], []));
    // Half of the time in which it is preferred.
    assert_eq!(client.wake(), Some(seconds(51)));
}

#[test]
fn asks_again_and_waits_longer_each_time() {
    let mut client = client();
    let mut now = Moment::ZERO;
    let mut waits = Vec::new();
    for _ in 0..9 {
        sent(&client.tick(now));
        let next = client.wake().unwrap();
        waits.push((next - now).as_secs());
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
}

#[test]
fn renews_rebinds_and_loses_it_in_the_end() {
    let mut client = bound();
    let mut kinds = Vec::new();
    loop {
        let now = client.wake().unwrap();
        let steps = client.tick(now);
        if let [Step::Lose(lost), Step::Send(message)] = steps.as_slice() {
            assert_eq!((*lost, now), (OURS, seconds(200)));
            assert_eq!(read(message).msg_type(), MessageType::Solicit);
            break;
        }
        let kind = read(&sent(&steps)).msg_type();
        let due = if now < seconds(80) { MessageType::Renew } else { MessageType::Rebind };
        assert_eq!(kind, due, "at {now:?}");
        kinds.push(kind);
    }
    assert!(kinds.contains(&MessageType::Renew) && kinds.contains(&MessageType::Rebind));
    assert!(kinds.len() < 20, "{kinds:?}");
    assert!(client.lease().is_none());
}

#[test]
fn a_renewal_counts_from_the_question() {
    let mut client = bound();
    let renew = sent(&client.tick(seconds(50)));
    let steps =
        client.receive(&answer(&renew, MessageType::Reply, 0, &[address(200)]), seconds(51));
    assert!(matches!(steps.as_slice(), [Step::Use(_)]), "{steps:?}");
    assert_eq!(client.wake(), Some(seconds(100)));
}

#[rstest]
#[case::unknown_to_the_server(&[status(Status::NoBinding)])]
#[case::of_another_network(&[status(Status::NotOnLink)])]
#[case::taken_back(&[address(0)])]
fn a_refusal_ends_a_lease(#[case] inner: &[DhcpOption]) {
    let mut client = bound();
    let renew = sent(&client.tick(seconds(50)));
    let steps = client.receive(&answer(&renew, MessageType::Reply, 0, inner), seconds(51));
    assert_eq!(steps, [Step::Lose(OURS)]);
    let solicit = sent(&client.tick(client.wake().unwrap()));
    assert_eq!(read(&solicit).msg_type(), MessageType::Solicit);
}

#[rstest]
#[case::none_left(&[status(Status::NoAddrsAvail)])]
#[case::none_given(&[])]
fn an_offer_without_an_address_is_none(#[case] inner: &[DhcpOption]) {
    let mut client = client();
    let solicit = sent(&client.tick(Moment::ZERO));
    let offer = answer(&solicit, MessageType::Advertise, 0, inner);
    assert!(client.receive(&offer, Moment::ZERO).is_empty());
}

#[test]
fn gives_back_what_it_has() {
    let mut client = bound();
    let steps = client.release();
    let [Step::Send(message), Step::Lose(OURS)] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(read(message).msg_type(), MessageType::Release);
    assert!(client.release().is_empty());
}

#[test]
fn a_time_that_never_comes_does_not_keep_a_lease_for_ever() {
    let mut client = client();
    let solicit = sent(&client.tick(Moment::ZERO));
    let offer = answer(&solicit, MessageType::Advertise, u32::MAX, &[address(200)]);
    let request = sent(&client.receive(&offer, Moment::ZERO));
    client.receive(&answer(&request, MessageType::Reply, u32::MAX, &[address(200)]), Moment::ZERO);
    assert!(client.wake().unwrap() <= seconds(200));
}
