//! The streams of answers that a kernel can give, without a kernel. S1 to S10 are those of the interface's description.

use std::collections::VecDeque;

use netlink_packet_core::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

use super::*;
use crate::transport::Window;

const OBJECT: u16 = 0x1c;

/// A kernel that answers what the test wrote down, whatever it is asked.
#[derive(Debug, Default)]
struct Script {
    answers: VecDeque<io::Result<Vec<u8>>>,
    sent: Vec<Vec<u8>>,
    opened: usize,
}

impl Transport for Script {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent.push(bytes.to_vec());
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        // A kernel that has nothing more to say: the wait ends.
        let answer = self
            .answers
            .pop_front()
            .unwrap_or_else(|| Err(Errno::AGAIN.into()));
        let datagram = answer?;
        let fits = datagram.len().min(into.capacity());
        into.extend(&datagram[..fits]);
        Ok(datagram.len())
    }

    fn reopen(&mut self) -> Result<(), Cause> {
        self.opened += 1;
        self.answers.clear();
        Ok(())
    }

    fn window(&self) -> Window {
        Window {
            messages: 4,
            bytes: 4096,
            longest: 8192,
        }
    }

    fn port(&self) -> u32 {
        0
    }
}

fn frame(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    [
        &length.to_ne_bytes()[..],
        &kind.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &sequence.to_ne_bytes(),
        &[0; 4],
        payload,
    ]
    .concat()
}

/// An error, or an acknowledgement if it is 0, with the echoed header of the request.
fn error(sequence: u32, errno: i32) -> Vec<u8> {
    let echo = frame(OBJECT, 0, sequence, &[]);
    frame(
        NLMSG_ERROR,
        0,
        sequence,
        &[&(-errno).to_ne_bytes()[..], &echo].concat(),
    )
}

fn object(sequence: u32, value: u8) -> Vec<u8> {
    frame(OBJECT, 2, sequence, &[value; 4])
}

fn done(sequence: u32, errno: i32) -> Vec<u8> {
    frame(NLMSG_DONE, 2, sequence, &(-errno).to_ne_bytes())
}

fn connection(answers: impl IntoIterator<Item = io::Result<Vec<u8>>>) -> Connection<Script> {
    Connection::over(Script {
        answers: answers.into_iter().collect(),
        ..Script::default()
    })
}

fn said(datagrams: impl IntoIterator<Item = Vec<u8>>) -> Vec<io::Result<Vec<u8>>> {
    datagrams.into_iter().map(Ok).collect()
}

fn batch(connection: &mut Connection<Script>, count: u8) -> Vec<Answered> {
    let items: Vec<u8> = (0..count).collect();
    connection.batch(&items, |item, out| {
        out.extend([*item; 4]);
        Head::new(OBJECT)
    })
}

fn dump(connection: &mut Connection<Script>) -> (Vec<u8>, Result<DumpShape, Cause>) {
    let mut read = Vec::new();
    let shape = connection.dump(
        |_| Head::new(OBJECT),
        |object| {
            read.push(object[0]);
            Ok(())
        },
    );
    (read, shape)
}

fn errnos(outcomes: &[Answered]) -> Vec<Option<i32>> {
    let errno = |outcome: &Answered| outcome.as_ref().err().and_then(Cause::errno);
    outcomes.iter().map(errno).collect()
}

#[test]
fn s1_every_answer_goes_to_its_request() {
    // The others say nothing because they succeeded and did not ask for more.
    let answers = [error(2, 17), object(4, 9), error(5, 0)].concat();
    let mut connection = connection(said([answers]));
    let outcomes = batch(&mut connection, 4);
    assert_eq!(errnos(&outcomes), [None, Some(17), None, None]);
    assert!(outcomes[3].is_ok());
}

#[test]
fn s2_an_error_in_the_middle_stops_nothing_and_the_fence_alone_asks() {
    let mut connection = connection(said([error(2, 17), error(5, 0)]));
    assert_eq!(
        errnos(&batch(&mut connection, 4)),
        [None, Some(17), None, None]
    );
    let sent = &connection.transport.sent[0][..96];
    let flags: Vec<u16> = sent
        .chunks(20)
        .map(|message| u16::from_ne_bytes([message[6], message[7]]))
        .collect();
    let (plain, asking) = (NLM_F_REQUEST, NLM_F_REQUEST | NLM_F_ACK);
    assert_eq!(flags, [plain, plain, plain, plain, asking]);
}

#[test]
fn a_large_batch_is_sent_in_windows() {
    let mut connection = connection(said([error(5, 0), error(8, 2), error(10, 0), error(12, 0)]));
    let outcomes = batch(&mut connection, 9);
    assert_eq!(connection.transport.sent.len(), 3);
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_err()).count(),
        1
    );
    assert_eq!(errnos(&outcomes)[6], Some(2));
}

#[test]
fn a_request_that_is_never_answered_holds_nothing_up() {
    let mut connection = connection(said([error(2, 0)]));
    assert!(batch(&mut connection, 1)[0].is_ok());
}

#[test]
fn a_window_that_may_not_be_sent_is_refused_whole() {
    let mut connection = connection(said([error(1, 1), error(9, 0)]));
    let outcomes = batch(&mut connection, 3);
    assert_eq!(errnos(&outcomes), [Some(1); 3]);
    // What is still on its way belongs to nobody.
    assert!(batch(&mut connection, 4).iter().all(Result::is_ok));
}

#[test]
fn s3_a_dump_comes_in_chunks_and_ends_with_a_datagram_of_its_own() {
    let chunk = [object(1, 1), object(1, 2)].concat();
    let mut connection = connection(said([chunk, object(1, 3), done(1, 0)]));
    let (read, shape) = dump(&mut connection);
    assert_eq!(read, [1, 2, 3]);
    assert_eq!(shape.unwrap().chunks, 2);
}

#[test]
fn s4_s9_answers_to_others_are_passed_over() {
    let foreign = [object(77, 8), error(77, 0), done(78, 0)].concat();
    let mut connection = connection(said([foreign.clone(), object(1, 1), foreign, done(1, 0)]));
    let (read, shape) = dump(&mut connection);
    assert_eq!(read, [1]);
    assert_eq!(shape.unwrap().chunks, 1);
}

#[test]
fn s5_a_dump_that_is_refused_says_so() {
    let mut connection = connection(said([error(1, 16)]));
    let (_, shape) = dump(&mut connection);
    assert_eq!(shape.unwrap_err().errno(), Some(16));
    assert_eq!(connection.transport.opened, 0, "the socket is still good");
}

#[test]
fn s6_lost_answers_leave_the_window_unknown_and_the_next_is_sent() {
    let answers = [Ok(error(1, 17)), Err(Errno::NOBUFS.into())];
    let mut connection = connection(answers);
    let outcomes = batch(&mut connection, 4);
    assert_eq!(
        outcomes[0].as_ref().unwrap_err().errno(),
        Some(17),
        "was read before"
    );
    let unknown = |outcome: &Answered| matches!(outcome, Err(Cause::Lost));
    assert!(outcomes[1..].iter().all(unknown));
    assert_eq!(connection.transport.opened, 1);
    connection.transport.answers.push_back(Ok(error(10, 0)));
    assert!(batch(&mut connection, 4).iter().all(Result::is_ok));
}

#[test]
fn s7_a_truncated_datagram_is_an_error_and_no_short_list() {
    let large = vec![0; RECEIVE_BYTES + 1];
    let mut connection = connection(said([object(1, 1), large, done(1, 0)]));
    let (_, shape) = dump(&mut connection);
    assert!(matches!(shape, Err(Cause::Truncated)));
    assert_eq!(connection.transport.opened, 1);
}

#[test]
fn s10_a_dump_may_end_with_an_error() {
    let mut ended = connection(said([object(1, 1), done(1, 12)]));
    assert_eq!(dump(&mut ended).1.unwrap_err().errno(), Some(12));
    let mut forbidden = connection(said([error(1, 1)]));
    assert!(dump(&mut forbidden).1.unwrap_err().is_permission());
}

#[test]
fn what_the_kernel_calls_interrupted_is_reported() {
    let mut connection = connection(said([
        frame(OBJECT, NLM_F_DUMP_INTR, 1, &[1; 4]),
        done(1, 0),
    ]));
    assert!(dump(&mut connection).1.unwrap().interrupted);
}

#[test]
fn interrupted_system_calls_are_tried_again() {
    let mut connection = connection([
        Err(Errno::INTR.into()),
        Ok(object(1, 1)),
        Err(Errno::INTR.into()),
        Ok(done(1, 0)),
    ]);
    assert_eq!(dump(&mut connection).0, [1]);
}

#[test]
fn waiting_is_bounded_and_a_closed_socket_is_said_so() {
    let mut silent = connection([]);
    assert!(matches!(batch(&mut silent, 1)[0], Err(Cause::TimedOut(_))));
    let mut closed = connection(said([Vec::new()]));
    assert!(matches!(dump(&mut closed).1, Err(Cause::Closed)));
    assert_eq!(closed.transport.opened, 1);
}

#[test]
fn a_broken_object_does_not_end_the_dump_before_its_end() {
    let mut connection = connection(said([object(1, 1), object(1, 2), done(1, 0)]));
    let mut seen = 0;
    let shape = connection.dump(
        |_| Head::new(OBJECT),
        |_| {
            seen += 1;
            Err(Cause::Malformed(seen.to_string()))
        },
    );
    assert!(matches!(shape, Err(Cause::Malformed(first)) if first == "1"));
    assert_eq!(
        seen, 2,
        "what follows belongs to this dump and is read with it"
    );
}

#[test]
fn a_broken_frame_is_an_error() {
    let mut connection = connection(said([vec![1; 15]]));
    assert!(matches!(dump(&mut connection).1, Err(Cause::Malformed(_))));
    assert_eq!(connection.transport.opened, 1);
}

/// A batch of three items in the sequence numbers that follow.
fn send_batch(connection: &mut Connection<Script>, items: &[u8]) -> Sent {
    let edge = |out: &mut Vec<u8>| {
        out.extend([0; 4]);
        Head::new(0x10)
    };
    let write = |item: &u8, out: &mut Vec<u8>| {
        out.extend([*item; 4]);
        Head::new(OBJECT)
    };
    let (sent, bytes) = connection.write_batch(edge, items, write, edge);
    assert_eq!(bytes, 20 * (items.len() + 2));
    connection.send_written().unwrap();
    sent
}

#[test]
fn each_batch_is_a_datagram_and_a_fence_ends_the_answers() {
    // Batches 1 to 5 and 6 to 9, the fence 10; answers to others are passed over.
    let answers = [
        error(3, 2),
        error(4, 17),
        error(6, 85),
        error(77, 1),
        error(10, 0),
    ];
    let mut connection = connection(said([answers.concat()]));
    let first = send_batch(&mut connection, &[1, 2, 3]);
    let second = send_batch(&mut connection, &[4, 5]);
    let answers = connection.answers(&[first, second]).unwrap();
    assert_eq!(connection.transport.sent.len(), 3);
    let items: Vec<_> = answers[0]
        .items
        .iter()
        .map(|(place, refusal)| (*place, refusal.errno))
        .collect();
    assert_eq!((items, &answers[0].whole), (vec![(1, 2), (2, 17)], &None));
    assert_eq!(answers[1].whole.as_ref().unwrap().errno, 85);
    assert!(answers[1].items.is_empty() && !answers[1].is_success());
}

#[test]
fn batches_that_are_not_answered_for_succeeded() {
    let mut connection = connection(said([error(6, 0)]));
    let sent = send_batch(&mut connection, &[1, 2, 3]);
    assert!(connection.answers(&[sent]).unwrap()[0].is_success());
}

#[test]
fn lost_answers_to_batches_are_an_error_and_the_socket_is_opened_anew() {
    let mut connection = connection([Err(Errno::NOBUFS.into())]);
    let sent = send_batch(&mut connection, &[1]);
    assert!(matches!(connection.answers(&[sent]), Err(Cause::Lost)));
    assert_eq!(connection.transport.opened, 1);
}
