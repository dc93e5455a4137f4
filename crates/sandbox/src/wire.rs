//! What launcher and pid 1 say to each other over the control socket.
//!
//! In: an [`Order`] in a memory file, with the mounts' descriptors. Out: [`Message`]s, `Ready` with the output folder.
//!
//! **Invariant:** the step never holds an end of this socket.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::profile::Profile;

/// Descriptors in one packet (the kernel's own bound is 253).
pub(crate) const DESCRIPTORS_MAX: usize = 200;
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What stands at the target of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    Folder,
    File,
    /// Nothing: what an outer mount shows there is hidden.
    Mask,
}

/// One mount, its descriptor travels beside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OrderMount {
    pub(crate) target: String,
    pub(crate) exec: bool,
    pub(crate) shape: Shape,
    /// For a launcher that may not clone mounts itself: where to find it, checked against the descriptor.
    pub(crate) reopen: Option<String>,
}

/// All pid 1 has to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) profile: Profile,
    pub(crate) argv: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) workdir: String,
    pub(crate) hostname: String,
    pub(crate) mounts: Vec<OrderMount>,
    pub(crate) links: Vec<(String, String)>,
    pub(crate) texts: Vec<(String, String)>,
    pub(crate) devices: Vec<crate::Device>,
    pub(crate) outputs: Vec<String>,
    pub(crate) output_files: usize,
    pub(crate) disk_bytes: u64,
    pub(crate) processes: u32,
    /// Only where no cgroup bounds memory.
    pub(crate) data_bytes: Option<u64>,
    pub(crate) uid_host: u32,
    pub(crate) gid_host: u32,
    /// Without namespaces: the folder of the host in which its places lie.
    pub(crate) view: Option<String>,
    /// Nobody else on the host is this user.
    pub(crate) own_user: bool,
    /// Names and lengths of the secrets; their values lie in the descriptor after those of the mounts.
    pub(crate) secrets: Vec<(String, usize)>,
    /// The last descriptor is where connections are handed to.
    pub(crate) has_door: bool,
    /// Compiled filters in the order of installation: code, jt, jf, k.
    pub(crate) filters: Vec<Vec<(u16, u8, u8, u32)>>,
}

/// What pid 1 reports.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Pid 1 is in its cgroup and waits for its order.
    Arrived,
    /// The root is laid out; the folder `/out` travels beside.
    Ready { namespaces: Vec<String>, landlock_abi: u32 },
    /// A stage failed; nothing of the step ran.
    Failed { stage: String, errno: i32 },
    /// The program could not be executed.
    NotExecuted { errno: i32 },
    /// The step's main process ended with this wait status.
    Exited { status: i32 },
}

/// Sends the order and the mounts' descriptors.
pub(crate) fn send_order(control: BorrowedFd<'_>, order: &Order, mounts: &[OwnedFd]) -> io::Result<()> {
    let memory = rustix::fs::memfd_create("order", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&serde_json::to_vec(order).map_err(io::Error::other)?)?;
    file.rewind()?;
    let mut all = vec![file.as_fd()];
    all.extend(mounts.iter().map(AsFd::as_fd));
    let mut batches = all.chunks(DESCRIPTORS_MAX).peekable();
    while let Some(batch) = batches.next() {
        let more = u8::from(batches.peek().is_some());
        send_packet(control, &[more], batch)?;
    }
    Ok(())
}

/// Receives what [`send_order`] sent.
pub(crate) fn receive_order(control: BorrowedFd<'_>) -> io::Result<(Order, Vec<OwnedFd>)> {
    let mut descriptors = Vec::new();
    loop {
        let mut more = [0u8; 1];
        let (length, mut fds) = receive_packet(control, &mut more)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        descriptors.append(&mut fds);
        if more == [0] {
            break;
        }
    }
    if descriptors.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = Vec::new();
    std::fs::File::from(descriptors.remove(0)).read_to_end(&mut text)?;
    let order = serde_json::from_slice(&text).map_err(io::Error::other)?;
    Ok((order, descriptors))
}

/// Sends one message of pid 1.
pub(crate) fn send_message(control: BorrowedFd<'_>, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(control, message, fds)
}

/// Sends one value with descriptors beside it.
pub(crate) fn send(socket: BorrowedFd<'_>, value: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_packet(socket, &serde_json::to_vec(value).map_err(io::Error::other)?, fds)
}

/// The next message of pid 1; none once it is gone.
pub(crate) fn receive_message(control: BorrowedFd<'_>) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    receive(control)
}

/// The next value and its descriptors; none once the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(control: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0u8; MESSAGE_BYTES_MAX];
    let (length, fds) = receive_packet(control, &mut buffer)?;
    if length == 0 {
        return Ok(None);
    }
    buffer.truncate(length);
    Ok(Some((serde_json::from_slice(&buffer).map_err(io::Error::other)?, fds)))
}

pub(crate) fn send_packet(control: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(fds).size()];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("descriptors do not fit a packet"));
    }
    rustix::net::sendmsg(control, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

pub(crate) fn receive_packet(control: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(control, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a control packet was cut"));
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((received.bytes, fds))
}
