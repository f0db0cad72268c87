//! The kernel's side: its numbers, its structures, and the calls that need `unsafe`, here and nowhere
//! else in the crate.
//!
//! libc has no SCTP for Linux, so structures and numbers are written down here after RFC 6458 and the
//! kernel's ABI; the assertions below hold them to it on every build. Whatever can be read or written
//! as plain bytes (addresses, notifications) is, in safe code elsewhere.
#![expect(unsafe_code, reason = "system calls that neither std, socket2 nor tokio have")]
#![warn(clippy::undocumented_unsafe_blocks)]

use std::cell::RefCell;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use libc::{c_int, c_void, socklen_t};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

/// Protocol number and option level.
const SCTP: c_int = 132;

// Options. Those from 100 on are Linux's own, behind what RFC 6458 §9 has as functions.
pub(crate) const RTOINFO: c_int = 0;
pub(crate) const ASSOCINFO: c_int = 1;
pub(crate) const INITMSG: c_int = 2;
pub(crate) const NODELAY: c_int = 3;
pub(crate) const AUTOCLOSE: c_int = 4;
pub(crate) const PEER_ADDR_PARAMS: c_int = 9;
pub(crate) const STATUS: c_int = 14;
pub(crate) const GET_PEER_ADDR_INFO: c_int = 15;
pub(crate) const FRAGMENT_INTERLEAVE: c_int = 18;
pub(crate) const RECVRCVINFO: c_int = 32;
pub(crate) const BINDX_ADD: c_int = 100;
pub(crate) const GET_PEER_ADDRS: c_int = 108;
pub(crate) const GET_LOCAL_ADDRS: c_int = 109;
const CONNECTX3: c_int = 111;
const PEELOFF_FLAGS: c_int = 122;
pub(crate) const EVENT: c_int = 127;

// Notifications: SN_TYPE_BASE is 1 << 15. SEND_FAILED_EVENT is the 13th; the 3rd is its deprecated
// predecessor with another layout.
pub(crate) const ASSOC_CHANGE: u16 = 0x8001;
pub(crate) const PEER_ADDR_CHANGE: u16 = 0x8002;
pub(crate) const SHUTDOWN_EVENT: u16 = 0x8005;
pub(crate) const PARTIAL_DELIVERY_EVENT: u16 = 0x8006;
pub(crate) const SEND_FAILED_EVENT: u16 = 0x800d;

pub(crate) const COMM_UP: u16 = 0;
pub(crate) const COMM_LOST: u16 = 1;
pub(crate) const RESTART: u16 = 2;
pub(crate) const SHUTDOWN_COMP: u16 = 3;
pub(crate) const CANT_STR_ASSOC: u16 = 4;
pub(crate) const DATA_SENT: u16 = 1;

// Control messages and flags (RFC 6458 §5.3.4, §5.3.5). EOF is MSG_FIN on Linux, not the 0x100 of
// other systems.
const CMSG_SNDINFO: c_int = 2;
const CMSG_RCVINFO: c_int = 3;
pub(crate) const UNORDERED: u16 = 1;
pub(crate) const ABORT: u16 = 4;
pub(crate) const EOF: u16 = 0x200;
pub(crate) const MSG_NOTIFICATION: c_int = 0x8000;

pub(crate) const HB_ENABLE: u32 = 1;
pub(crate) const SACK_DELAY_ENABLE: u32 = 0x20;

/// A structure of the kernel's ABI.
///
/// # Safety
/// `repr(C)`, made of integers and arrays of them only, so that any bytes are a valid value.
pub(crate) unsafe trait Plain: Sized {
    /// All zero, which to the kernel means "as it is" or "for the socket".
    fn zero() -> Self {
        // SAFETY: the trait says that any bytes are a valid value.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident($size:literal) { $($field:ident: $type:ty $(=> $offset:literal)?),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type),* }
        // SAFETY: `repr(C)` by this macro, and used below with integers and arrays of them only.
        unsafe impl Plain for $name {}
        const _: () = {
            assert!(size_of::<$name>() == $size);
            $($(assert!(offset_of!($name, $field) == $offset);)?)*
        };
    )*};
}

plain! {
    RtoInfo(16) { assoc_id: i32, initial: u32, max: u32, min: u32 => 12 }
    AssocParams(20) {
        assoc_id: i32, max_rxt: u16 => 4, destinations: u16, peer_rwnd: u32 => 8, local_rwnd: u32,
        cookie_life: u32,
    }
    InitMsg(8) { out_streams: u16, in_streams: u16, max_attempts: u16, max_timeout: u16 => 6 }
    Subscribe(8) { assoc_id: i32, kind: u16 => 4, on: u8 => 6 }
    SndInfo(16) { stream: u16, flags: u16 => 2, ppid: u32 => 4, context: u32, assoc_id: i32 => 12 }
    RcvInfo(28) {
        stream: u16, ssn: u16, flags: u16 => 4, ppid: u32 => 8, tsn: u32, cumtsn: u32, context: u32,
        assoc_id: i32 => 24,
    }
    PaddrInfo(152) {
        assoc_id: i32, address: [u8; 128] => 4, state: i32 => 132, cwnd: u32, srtt: u32, rto: u32 => 144,
        mtu: u32,
    }
    StatusInfo(176) {
        assoc_id: i32, state: i32, rwnd: u32, unacked: u16 => 12, pending: u16, in_streams: u16,
        out_streams: u16, fragmentation_point: u32, primary: PaddrInfo => 24,
    }
    PeelOff(12) { assoc_id: i32, fd: i32 => 4, flags: u32 => 8 }

    // Notifications: only ever read from bytes, at these offsets.
    AssocChange(20) {
        kind: u16, flags: u16, length: u32, state: u16 => 8, error: u16 => 10,
        outbound_streams: u16 => 12, inbound_streams: u16 => 14, assoc_id: i32 => 16,
    }
    PaddrChange(148) {
        kind: u16, flags: u16, length: u32, address: [u8; 128] => 8, state: i32 => 136, error: i32,
        assoc_id: i32 => 144,
    }
    SendFailed(32) {
        kind: u16, flags: u16 => 2, length: u32, error: u32 => 8, info: SndInfo => 12,
        assoc_id: i32 => 28,
    }
    ShutdownEvent(12) { kind: u16, flags: u16, length: u32, assoc_id: i32 => 8 }
    // Not in the RFC's order of fields: Linux has the id before stream and sequence number.
    PartialDeliveryEvent(24) {
        kind: u16, flags: u16, length: u32, indication: u32, assoc_id: i32 => 12, stream: u32, seq: u32,
    }
}

/// `struct sctp_paddrparams`. In C it is `packed, aligned(4)`: `path_mtu` follows `path_max_rxt` without
/// a gap, at 138, and the whole is rounded up to 156. `packed(4)` would be another layout (140).
#[derive(Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct PaddrParams {
    pub(crate) assoc_id: i32,
    pub(crate) address: [u8; 128],
    pub(crate) hb_interval: u32,
    pub(crate) path_max_rxt: u16,
    pub(crate) path_mtu: u32,
    pub(crate) sack_delay: u32,
    pub(crate) flags: u32,
    pub(crate) flow_label: u32,
    pub(crate) dscp: u8,
    pub(crate) rounding: u8,
}

// SAFETY: `repr(C)` (packed, so without padding at all), integers and an array of them only.
unsafe impl Plain for PaddrParams {}
// SAFETY: an integer.
unsafe impl Plain for c_int {}

/// `struct sctp_getaddrs_old`, which CONNECTX3 takes.
#[repr(C)]
struct ConnectX {
    assoc_id: i32,
    /// In bytes, whatever its name says in C.
    length: c_int,
    addresses: *const u8,
}

/// `struct cmsghdr` as the kernel has it, and what follows it.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control<T> {
    length: usize,
    level: c_int,
    kind: c_int,
    info: T,
}

/// Bytes of a `struct cmsghdr`; a multiple of its alignment, so that no gap follows it.
const HEADER: usize = offset_of!(Control<u8>, info);

const _: () = {
    assert!(offset_of!(PaddrParams, hb_interval) == 132);
    assert!(offset_of!(PaddrParams, path_max_rxt) == 136);
    assert!(offset_of!(PaddrParams, path_mtu) == 138);
    assert!(offset_of!(PaddrParams, sack_delay) == 142);
    assert!(offset_of!(PaddrParams, flags) == 146);
    assert!(size_of::<PaddrParams>() == 156);
    assert!(offset_of!(ConnectX, length) == 4 && offset_of!(ConnectX, addresses) == 8);
    assert!(HEADER == size_of::<usize>() + 8 && HEADER.is_multiple_of(size_of::<usize>()));
    assert!(offset_of!(Control<SndInfo>, info) == HEADER);
    assert!(offset_of!(Control<RcvInfo>, info) == HEADER);
};

/// Opens a one-to-many socket, close-on-exec and non-blocking.
pub(crate) fn open(ipv6: bool) -> io::Result<Socket> {
    let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
    let socket =
        Socket::new(domain, Type::SEQPACKET, Some(Protocol::from(SCTP))).map_err(|error| {
            // Without the module the kernel knows either no such protocol or no such pair of protocol
            // and type.
            match error.raw_os_error() {
                Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT) => io::Error::new(
                    io::ErrorKind::Unsupported,
                    format!("this host's kernel has no SCTP (try `modprobe sctp`): {error}"),
                ),
                _ => error,
            }
        })?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Registers a socket with the runtime.
pub(crate) fn register(socket: Socket) -> io::Result<AsyncFd<Socket>> {
    // SAFETY: `Socket` owns its descriptor, gives the same one on every call, and closes it only when
    // dropped; `AsyncFd` owns the `Socket` from here on, and nothing in this crate takes it out again.
    Ok(unsafe { AsyncFd::register(socket) }?)
}

pub(crate) fn set_option<T: Plain>(fd: BorrowedFd<'_>, name: c_int, value: &T) -> io::Result<()> {
    let (value, length) = ((&raw const *value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY: `value` comes from a reference that outlives the call, and `length` is its size; the
    // kernel only reads.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), SCTP, name, value, length) }).map(drop)
}

/// Sets an option whose value has no fixed length.
pub(crate) fn set_bytes(fd: BorrowedFd<'_>, name: c_int, value: &[u8]) -> io::Result<()> {
    let (value, length) = (value.as_ptr().cast::<c_void>(), value.len() as socklen_t);
    // SAFETY: `value` and `length` are one slice that outlives the call; the kernel only reads.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), SCTP, name, value, length) }).map(drop)
}

pub(crate) fn get_option<T: Plain>(
    fd: BorrowedFd<'_>,
    name: c_int,
    value: &mut T,
) -> io::Result<()> {
    let mut length = size_of::<T>() as socklen_t;
    let value = (&raw mut *value).cast::<c_void>();
    // SAFETY: `value` comes from an exclusive reference and `length` is its size, which the kernel does
    // not exceed; `T: Plain` says that whatever bytes it writes are a valid `T`.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), SCTP, name, value, &raw mut length) }).map(drop)
}

/// Gets an option whose value has no fixed length; what goes in is at the head of `value`.
pub(crate) fn get_bytes(fd: BorrowedFd<'_>, name: c_int, value: &mut [u8]) -> io::Result<()> {
    let mut length = value.len() as socklen_t;
    let value = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: `value` and `length` are one exclusive slice, beyond which the kernel does not write.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), SCTP, name, value, &raw mut length) }).map(drop)
}

/// Begins an association with a peer at these packed addresses and returns its id.
pub(crate) fn connectx(fd: BorrowedFd<'_>, packed: &[u8]) -> io::Result<i32> {
    let length = c_int::try_from(packed.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "too many addresses"))?;
    let mut request = ConnectX { assoc_id: 0, length, addresses: packed.as_ptr() };
    let mut length = size_of::<ConnectX>() as socklen_t;
    let value = (&raw mut request).cast::<c_void>();
    // SAFETY: `value` and `length` are `request`, of which the kernel writes the first field, an
    // integer; the pointer inside goes to `packed` with its length, which the kernel only reads.
    let result =
        unsafe { libc::getsockopt(fd.as_raw_fd(), SCTP, CONNECTX3, value, &raw mut length) };
    match check(result) {
        // The set-option form of the call gives no id on a non-blocking socket. This one does, even
        // when it says that the attempt is in progress.
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(request.assoc_id),
    }
}

/// Moves an association to a socket of its own, close-on-exec and non-blocking.
pub(crate) fn peel_off(fd: BorrowedFd<'_>, assoc_id: i32) -> io::Result<Socket> {
    let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32;
    let mut request = PeelOff { assoc_id, fd: -1, flags };
    get_option(fd, PEELOFF_FLAGS, &mut request)?;
    // SAFETY: the call succeeded, so the kernel has put a new descriptor there that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(request.fd) }.into())
}

/// Messages per system call.
pub(crate) const BATCH: usize = 16;
/// Bytes that one slot of a batch takes. Longer messages come in parts.
const SLOT: usize = 8 * 1024;

/// A message on its way to the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Departure<'a> {
    pub(crate) info: SndInfo,
    pub(crate) data: &'a [u8],
}

/// Sends up to [`BATCH`] messages and returns how many the kernel has taken: at least one, or an error.
pub(crate) fn send<'a>(
    fd: BorrowedFd<'_>,
    messages: impl Iterator<Item = Departure<'a>>,
) -> io::Result<usize> {
    let info = SndInfo::zero();
    // The length counts the header and the structure, not the rounding behind it.
    let length = HEADER + size_of::<SndInfo>();
    let mut controls = [Control { length, level: SCTP, kind: CMSG_SNDINFO, info }; BATCH];
    let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: pointers and integers only, for which zero is valid; fields that some C libraries add as
    // padding have to be zero.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
    let mut count = 0;
    let slots = headers.iter_mut().zip(&mut controls).zip(&mut parts);
    for (message, ((header, control), part)) in messages.zip(slots) {
        control.info = message.info;
        *part = libc::iovec {
            iov_base: message.data.as_ptr().cast_mut().cast(),
            iov_len: message.data.len(),
        };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_control = (&raw mut *control).cast();
        header.msg_hdr.msg_controllen = length as _;
        count += 1;
    }
    // An association that is gone gives EPIPE, and without MSG_NOSIGNAL the signal to go with it.
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let sent = past_pending_error(|| {
        // SAFETY: the first `count` headers are filled in. Each names one part, which is a slice that
        // lives for `'a` and is only read, and one control message of the length given; all arrays
        // outlive the call and were not moved since.
        unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count as _, flags as _) }
    })?;
    Ok(sent as usize)
}

/// A message, a notification, or a part of one.
pub(crate) struct Arrival<'a> {
    pub(crate) data: &'a [u8],
    /// `MSG_EOR`, `MSG_NOTIFICATION`.
    pub(crate) flags: c_int,
    /// The sender's socket address.
    pub(crate) from: &'a [u8],
    /// Absent for notifications.
    pub(crate) info: Option<RcvInfo>,
}

/// Room for one batch. One per thread and not per socket: what is in it is copied out before the call
/// returns, and a process may hold thousands of sockets.
struct Scratch {
    data: Box<[u8]>,
    names: [[u8; 128]; BATCH],
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        data: vec![0; BATCH * SLOT].into_boxed_slice(),
        names: [[0; 128]; BATCH],
    });
}

/// Receives up to `most` arrivals in order, [`BATCH`] at most, and returns how many; fewer have emptied the socket.
/// `deliver` must not receive.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    most: usize,
    mut deliver: impl FnMut(Arrival<'_>),
) -> io::Result<usize> {
    SCRATCH.with_borrow_mut(|scratch| {
        let info = RcvInfo::zero();
        let mut controls = [Control { length: 0, level: 0, kind: 0, info }; BATCH];
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: as in `send`.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let slots = scratch.data.chunks_exact_mut(SLOT).zip(&mut scratch.names);
        let slots = slots.zip(&mut controls).zip(&mut parts);
        for (header, (((data, name), control), part)) in headers.iter_mut().zip(slots) {
            *part = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: data.len() };
            header.msg_hdr.msg_name = name.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = name.len() as socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut *control).cast();
            header.msg_hdr.msg_controllen = size_of::<Control<RcvInfo>>() as _;
        }
        let flags = libc::MSG_DONTWAIT;
        let received = past_pending_error(|| {
            let (fd, count) = (fd.as_raw_fd(), most.min(BATCH) as _);
            let no_limit = std::ptr::null_mut();
            // SAFETY: all headers are filled in, each with a name, a part and a control message of the
            // lengths given, that belong to this header only and are borrowed exclusively; the kernel
            // writes no more than those lengths, and any bytes are valid there.
            unsafe { libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags as _, no_limit) }
        })? as usize;
        let slots = scratch.data.chunks_exact(SLOT).zip(&scratch.names).zip(&controls);
        for (header, ((data, name), control)) in headers.iter().take(received).zip(slots) {
            let header_len = header.msg_hdr.msg_namelen as usize;
            let known = control.length == HEADER + size_of::<RcvInfo>()
                && (control.level, control.kind) == (SCTP, CMSG_RCVINFO);
            deliver(Arrival {
                data: data.get(..header.msg_len as usize).unwrap_or(data),
                flags: header.msg_hdr.msg_flags,
                from: name.get(..header_len).unwrap_or(name),
                info: known.then_some(control.info),
            });
        }
        Ok(received)
    })
}

/// The end of a peeled-off association leaves an error on its socket (ECONNRESET, ECONNABORTED,
/// ETIMEDOUT), which the next call gives, whatever it was for, and takes away. The notification says the
/// same and comes after it; so the call is made again, once.
fn past_pending_error(mut call: impl FnMut() -> c_int) -> io::Result<c_int> {
    match check(call()) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => check(call()),
        result => result,
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The descriptor of a registered socket.
pub(crate) fn fd(socket: &AsyncFd<Socket>) -> BorrowedFd<'_> {
    socket.get_ref().as_fd()
}
