//! The bytes on the wire: native C structs of a 64-bit little-endian Linux, no version field.
//! Numbers and layouts are those of src/lxc/commands.h, the same in LXC 5.0, 6.0 and 7.0.

/// Size of a request's and of an answer's first part.
pub const HEADER: usize = 16;
/// The most that may follow a header, in both directions.
pub const MAX_PAYLOAD: usize = 8192;
/// What ADD_STATE_CLIENT answers when the caller has to wait for the state.
pub const MAX_STATE: u32 = 8;

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:literal $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($variant = $number,)+ }

        impl $name {
            /// The one that has this number on the wire.
            pub fn from_number(number: i32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// Its number on the wire.
            pub fn number(self) -> u8 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// LXC's word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

numbered! {
    /// What a container is doing, in LXC's words.
    State {
        Stopped = 0 "STOPPED",
        Starting = 1 "STARTING",
        Running = 2 "RUNNING",
        Stopping = 3 "STOPPING",
        Aborting = 4 "ABORTING",
        Freezing = 5 "FREEZING",
        Frozen = 6 "FROZEN",
        Thawed = 7 "THAWED",
    }
}

numbered! {
    /// What can be asked of a supervisor.
    Command {
        GetTtyFd = 0 "GET_TTY_FD",
        TerminalWinch = 1 "TERMINAL_WINCH",
        Stop = 2 "STOP",
        GetState = 3 "GET_STATE",
        GetInitPid = 4 "GET_INIT_PID",
        GetCloneFlags = 5 "GET_CLONE_FLAGS",
        GetCgroup = 6 "GET_CGROUP",
        GetConfigItem = 7 "GET_CONFIG_ITEM",
        GetName = 8 "GET_NAME",
        GetLxcpath = 9 "GET_LXCPATH",
        AddStateClient = 10 "ADD_STATE_CLIENT",
        ConsoleLog = 11 "CONSOLE_LOG",
        ServeStateClients = 12 "SERVE_STATE_CLIENTS",
        SeccompNotifyAddListener = 13 "SECCOMP_NOTIFY_ADD_LISTENER",
        AddBpfDeviceCgroup = 14 "ADD_BPF_DEVICE_CGROUP",
        Freeze = 15 "FREEZE",
        Unfreeze = 16 "UNFREEZE",
        GetCgroup2Fd = 17 "GET_CGROUP2_FD",
        GetInitPidfd = 18 "GET_INIT_PIDFD",
        GetLimitCgroup = 19 "GET_LIMIT_CGROUP",
        GetLimitCgroup2Fd = 20 "GET_LIMIT_CGROUP2_FD",
        GetDevptsFd = 21 "GET_DEVPTS_FD",
        GetSeccompNotifyFd = 22 "GET_SECCOMP_NOTIFY_FD",
        GetCgroupCtx = 23 "GET_CGROUP_CTX",
        GetCgroupFd = 24 "GET_CGROUP_FD",
        GetLimitCgroupFd = 25 "GET_LIMIT_CGROUP_FD",
        GetSystemdScope = 26 "GET_SYSTEMD_SCOPE",
    }
}

/// A frame that no client or server of LXC sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame")]
pub struct Malformed;

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// `count` of what follows a header; negative or huge ones are refused.
fn payload_len(count: i32) -> Result<usize, Malformed> {
    usize::try_from(count).ok().filter(|len| *len <= MAX_PAYLOAD).ok_or(Malformed)
}

/// A request as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub command: i32,
    /// The integer that liblxc packs into a pointer. Without meaning beside a payload, where the
    /// field holds an address of the client.
    pub argument: i32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn encode(&self) -> Vec<u8> {
        let len = u16::try_from(self.payload.len()).expect("our own requests are short");
        let mut bytes = Vec::with_capacity(HEADER + self.payload.len());
        bytes.extend_from_slice(&self.command.to_le_bytes());
        bytes.extend_from_slice(&i32::from(len).to_le_bytes());
        bytes.extend_from_slice(&i64::from(self.argument).to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Collects the pieces of one request.
#[derive(Debug, Default)]
pub struct Inbox(Vec<u8>);

impl Inbox {
    /// How many bytes are missing for the next step: first the header, then what it announces.
    pub fn wants(&self) -> Result<usize, Malformed> {
        match i32_at(&self.0, 4).filter(|_| self.0.len() >= HEADER) {
            None => Ok(HEADER - self.0.len()),
            Some(count) => Ok((HEADER + payload_len(count)?).saturating_sub(self.0.len())),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The request, once it is whole; the inbox is empty afterwards.
    pub fn take(&mut self) -> Result<Option<Frame>, Malformed> {
        if self.0.len() < HEADER || self.wants()? > 0 {
            return Ok(None);
        }
        let (command, argument) =
            (i32_at(&self.0, 0).ok_or(Malformed)?, i32_at(&self.0, 8).ok_or(Malformed)?);
        let payload = self.0.split_off(HEADER);
        self.0.clear();
        Ok(Some(Frame { command, argument, payload }))
    }
}

/// The first part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// 0, a positive value, or a negated errno.
    pub ret: i32,
    /// What follows, in bytes.
    pub payload_len: usize,
    /// A small number, if nothing follows.
    pub data: i32,
}

impl ReplyHeader {
    pub fn encode(self) -> Result<[u8; HEADER], Malformed> {
        let len = i32::try_from(self.payload_len).ok().filter(|_| self.payload_len <= MAX_PAYLOAD);
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&self.ret.to_le_bytes());
        bytes[4..8].copy_from_slice(&len.ok_or(Malformed)?.to_le_bytes());
        bytes[8..16].copy_from_slice(&i64::from(self.data).to_le_bytes());
        Ok(bytes)
    }

    pub fn decode(bytes: [u8; HEADER]) -> Result<Self, Malformed> {
        let field = |at| i32_at(&bytes, at).ok_or(Malformed);
        Ok(Self { ret: field(0)?, payload_len: payload_len(field(4)?)?, data: field(8)? })
    }
}

/// The states a waiter asks for: `int[8]`, where 1 means wanted.
pub fn encode_wanted(states: &[State]) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    for state in states {
        bytes[usize::from(state.number()) * 4] = 1;
    }
    bytes
}

/// As [`encode_wanted`], read back. A waiter for a reboot marks a state with 2.
pub fn decode_wanted(payload: &[u8]) -> Result<Vec<State>, Malformed> {
    if payload.len() != 32 {
        return Err(Malformed);
    }
    let marked = |state: &State| {
        i32_at(payload, usize::from(state.number()) * 4).is_some_and(|mark| mark != 0)
    };
    Ok((0..8).filter_map(State::from_number).filter(marked).collect())
}

/// What a waiter and the monitor fifo are told (`struct lxc_msg`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    State(State),
    /// A raw wait status.
    ExitCode(i32),
}

impl Message {
    pub const SIZE: usize = 264;

    /// `name` is cut to the 255 bytes that the struct has room for.
    pub fn encode(&self, name: &str) -> [u8; Self::SIZE] {
        let (kind, value) = match self {
            Self::State(state) => (0_i32, i32::from(state.number())),
            Self::ExitCode(status) => (2, *status),
        };
        let mut bytes = [0; Self::SIZE];
        let len = name.len().min(255);
        bytes[0..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..4 + len].copy_from_slice(&name.as_bytes()[..len]);
        bytes[260..264].copy_from_slice(&value.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, Malformed> {
        let (kind, value) =
            (i32_at(bytes, 0).ok_or(Malformed)?, i32_at(bytes, 260).ok_or(Malformed)?);
        match kind {
            0 => State::from_number(value).map(Self::State).ok_or(Malformed),
            2 => Ok(Self::ExitCode(value)),
            _ => Err(Malformed),
        }
    }
}

/// How the host's cgroups are mounted, in LXC's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupLayout {
    Legacy,
    Unified,
}

impl CgroupLayout {
    fn number(self) -> i32 {
        match self {
            Self::Legacy => 0,
            Self::Unified => 2,
        }
    }

    /// Bit 0: device control, bit 1: freezer. Both are there in either layout.
    const UTILITIES: u32 = 3;
}

/// The answer to GET_CGROUP_CTX, which travels with `fds` descriptors (at most 20).
pub fn encode_cgroup_ctx(layout: CgroupLayout, fds: u32) -> [u8; 96] {
    let mut bytes = [0; 96];
    bytes[0..4].copy_from_slice(&layout.number().to_le_bytes());
    bytes[4..8].copy_from_slice(&CgroupLayout::UTILITIES.to_le_bytes());
    bytes[8..12].copy_from_slice(&fds.to_le_bytes());
    bytes
}

/// The controller that a GET_CGROUP_FD or GET_LIMIT_CGROUP_FD request names.
pub fn decode_cgroup_fd(payload: &[u8]) -> Result<&str, Malformed> {
    let field = payload.get(16..80).filter(|_| payload.len() == 80).ok_or(Malformed)?;
    text(field)
}

/// The answer to it; the descriptor travels beside.
pub fn encode_cgroup_fd(layout: CgroupLayout, controller: &str) -> [u8; 80] {
    let magic: i32 = match layout {
        CgroupLayout::Legacy => 0x0027_e0eb,
        CgroupLayout::Unified => 0x6367_7270,
    };
    let len = controller.len().min(63);
    let mut bytes = [0; 80];
    bytes[0..4].copy_from_slice(&layout.number().to_le_bytes());
    bytes[4..8].copy_from_slice(&CgroupLayout::UTILITIES.to_le_bytes());
    bytes[8..12].copy_from_slice(&magic.to_le_bytes());
    bytes[16..16 + len].copy_from_slice(&controller.as_bytes()[..len]);
    bytes
}

/// A string argument: NUL-terminated, the NUL counted, none inside. An absent one is empty.
pub fn text(payload: &[u8]) -> Result<&str, Malformed> {
    let end = payload.iter().position(|byte| *byte == 0).unwrap_or(payload.len());
    let rest_is_padding = payload[end..].iter().all(|byte| *byte == 0);
    std::str::from_utf8(&payload[..end]).ok().filter(|_| rest_is_padding).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn lays_out_a_request_as_liblxc() {
        let frame = Frame { command: 3, argument: -1, payload: Vec::new() };
        assert_eq!(
            frame.encode(),
            [3, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]
        );
    }

    #[rstest]
    #[case::negative(-1)]
    #[case::above_the_limit(8193)]
    fn refuses_a_length(#[case] len: i32) {
        let mut inbox = Inbox::default();
        let mut header = [0; HEADER];
        header[4..8].copy_from_slice(&len.to_le_bytes());
        inbox.push(&header);
        assert_eq!(inbox.wants(), Err(Malformed));
        assert_eq!(inbox.take(), Err(Malformed));
        assert_eq!(ReplyHeader::decode(header), Err(Malformed));
    }

    #[rstest]
    #[case::terminated(b"memory\0", Ok("memory"))]
    #[case::bare(b"memory", Ok("memory"))]
    #[case::padded(b"cpu\0\0\0", Ok("cpu"))]
    #[case::absent(b"", Ok(""))]
    #[case::inner_nul(b"a\0b\0", Err(Malformed))]
    fn reads_a_string(#[case] payload: &[u8], #[case] expected: Result<&str, Malformed>) {
        assert_eq!(text(payload), expected);
    }

    #[test]
    fn numbers_agree_with_the_names() {
        for number in 0..27 {
            assert_eq!(Command::from_number(number).map(|c| i32::from(c.number())), Some(number));
        }
        assert_eq!(Command::from_number(27), None);
        assert_eq!(State::from_number(8), None);
        assert_eq!(State::Frozen.to_string(), "FROZEN");
    }

    #[test]
    fn a_waiter_for_a_reboot_counts_as_one() {
        let mut payload = encode_wanted(&[State::Running]);
        payload[State::Stopped.number() as usize * 4] = 2;
        assert_eq!(decode_wanted(&payload), Ok(vec![State::Stopped, State::Running]));
        assert_eq!(decode_wanted(&payload[1..]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn never_panics_and_never_overreads(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40)) {
            let mut inbox = Inbox::default();
            for piece in pieces {
                let Ok(wanted) = inbox.wants() else { break };
                prop_assert!(wanted <= MAX_PAYLOAD + HEADER);
                inbox.push(&piece[..piece.len().min(wanted)]);
                match inbox.take() {
                    Ok(Some(frame)) => prop_assert!(frame.payload.len() <= MAX_PAYLOAD && inbox.is_empty()),
                    Ok(None) => {}
                    Err(Malformed) => break,
                }
            }
        }

        #[test]
        fn round_trips_in_any_pieces(command in any::<i32>(), argument in any::<i32>(), payload in prop::collection::vec(any::<u8>(), 0..64), cut in 1..20_usize) {
            let frame = Frame { command, argument, payload };
            let mut inbox = Inbox::default();
            let encoded = frame.encode();
            for piece in encoded.chunks(cut) {
                prop_assert_eq!(inbox.take(), Ok(None));
                inbox.push(piece);
            }
            prop_assert_eq!(inbox.take(), Ok(Some(frame)));
        }

        #[test]
        fn decoders_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _states = decode_wanted(&bytes);
            let _controller = decode_cgroup_fd(&bytes);
            let _text = text(&bytes);
            if let Ok(message) = <&[u8; Message::SIZE]>::try_from(bytes.get(..Message::SIZE).unwrap_or_default()) {
                let _message = Message::decode(message);
            }
        }
    }
}
