//! Lets user-mode Linux 6.1 run on processors with more registers than it knows, such as those with AMX.
//!
//! User-mode Linux keeps 2,696 bytes of extended state for each of its processes, as much as there was up to AVX-512 and
//! protection keys. Reading the state of a processor that has more gives what fits; writing it back is refused with
//! `EFAULT` unless all is there (`xstateregs_set` in the kernel's `arch/x86/kernel/fpu/regset.c`), and user-mode Linux ends
//! before the first process has run. Loaded before the C library (`LD_PRELOAD`), this fills up what is written with zeros:
//! what is beyond is AMX, which no process has without asking for it.

use std::ffi::{c_long, c_uint, c_void};
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use libc::{PTRACE_GETREGSET, PTRACE_SETREGSET, RTLD_NEXT, iovec, pid_t};

/// The extended state (`linux/elf.h`).
const NT_X86_XSTATE: usize = 0x202;

/// More than any processor has today: 11,008 bytes with AMX.
const ROOM: usize = 1 << 16;

type Ptrace = unsafe extern "C" fn(c_uint, pid_t, *mut c_void, *mut c_void) -> c_long;

/// The C library's own `ptrace`.
static NEXT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
/// Bytes of extended state that this machine's kernel wants; 0 until the first write.
static SIZE: AtomicUsize = AtomicUsize::new(0);
/// The state with zeros behind it. Not on the stack, which in user-mode Linux is a kernel's, of few pages.
static mut STATE: [u8; ROOM] = [0; ROOM];

/// `ptrace(2)`, with extended state filled up to the size that this machine has.
///
/// # Safety
/// As for the C library's. Only one thread may write extended state, and no signal handler may: in user-mode Linux that is
/// the kernel's one processor, which does it on the way to a process.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ptrace(
    request: c_uint,
    pid: pid_t,
    address: *mut c_void,
    data: *mut c_void,
) -> c_long {
    let Some(next) = next() else { return -1 };
    if request != PTRACE_SETREGSET || address.addr() != NT_X86_XSTATE {
        // SAFETY: the caller's arguments, as they came.
        return unsafe { next(request, pid, address, data) };
    }
    // SAFETY: for this request the caller hands over an iovec.
    let given = unsafe { &*data.cast::<iovec>() };
    // SAFETY: nobody else has it, see above, and it lives for ever.
    let Some(state) = (unsafe { (&raw mut STATE).as_mut() }) else {
        return -1;
    };
    let size = size(next, pid, address, state).min(state.len());
    let Some((head, rest)) = state
        .get_mut(..size)
        .and_then(|state| state.split_at_mut_checked(given.iov_len))
    else {
        // SAFETY: the caller's arguments: nothing is missing.
        return unsafe { next(request, pid, address, data) };
    };
    // SAFETY: the caller says that so many bytes are there, and they are not in our own memory.
    head.copy_from_slice(unsafe {
        std::slice::from_raw_parts(given.iov_base.cast::<u8>(), given.iov_len)
    });
    rest.fill(0);
    let mut whole = iovec {
        iov_base: state.as_mut_ptr().cast(),
        iov_len: size,
    };
    // SAFETY: an iovec over memory of that length.
    unsafe { next(request, pid, address, (&raw mut whole).cast()) }
}

/// The `ptrace` that would be called if this were not here.
fn next() -> Option<Ptrace> {
    let mut found = NEXT.load(Ordering::Relaxed);
    if found.is_null() {
        // SAFETY: a name that ends with 0.
        found = unsafe { libc::dlsym(RTLD_NEXT, c"ptrace".as_ptr()) };
        NEXT.store(found, Ordering::Relaxed);
    }
    // SAFETY: a function of the C library with these arguments and this result; null becomes `None`.
    unsafe { transmute::<*mut c_void, Option<Ptrace>>(found) }
}

/// How many bytes of extended state there are: what reading it gives; 0 while that fails.
fn size(next: Ptrace, pid: pid_t, kind: *mut c_void, room: &mut [u8]) -> usize {
    let known = SIZE.load(Ordering::Relaxed);
    if known > 0 {
        return known;
    }
    let mut read = iovec {
        iov_base: room.as_mut_ptr().cast(),
        iov_len: room.len(),
    };
    // SAFETY: an iovec over memory of that length; the kernel writes into it and shortens it.
    let done = unsafe { next(PTRACE_GETREGSET, pid, kind, (&raw mut read).cast()) };
    let size = if done == 0 { read.iov_len } else { 0 };
    SIZE.store(size, Ordering::Relaxed);
    size
}

#[cfg(test)]
mod tests {
    use std::io::Error;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::ptr::without_provenance_mut;

    use super::*;

    /// What user-mode Linux 6.1 has room for.
    const KNOWN: usize = 2696;

    /// Fails with `EFAULT` by the C library's own `ptrace` on a processor with AMX.
    #[test]
    fn a_state_as_short_as_user_mode_linux_knows_it_is_written() {
        let mut command = Command::new("true");
        // SAFETY: a system call alone, between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(Error::last_os_error()),
            });
        }
        let mut child = command.spawn().unwrap();
        let pid = pid_t::try_from(child.id()).unwrap();
        let mut status = 0;
        // SAFETY: our own child, and memory for its status; it stops at exec.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        let mut state = [0_u8; KNOWN];
        for request in [PTRACE_GETREGSET, PTRACE_SETREGSET] {
            let mut vector = iovec {
                iov_base: state.as_mut_ptr().cast(),
                iov_len: KNOWN,
            };
            let kind = without_provenance_mut(NT_X86_XSTATE);
            // SAFETY: an iovec over memory of that length; no other test is here.
            let done = unsafe { ptrace(request, pid, kind, (&raw mut vector).cast()) };
            assert_eq!(done, 0, "{}", Error::last_os_error());
        }
        // SAFETY: our own child, which goes on.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
        assert!(child.wait().unwrap().success());
    }
}
