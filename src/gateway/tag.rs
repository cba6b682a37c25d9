//! Who answered, put behind the first message of an answer while it passes through.

use std::mem::take;

use bytes::Bytes;

use crate::wire::grpc::HEAD;

/// Puts bytes behind the first message of an answer, and corrects its length.
#[derive(Debug)]
pub(super) struct Tag {
    more: Bytes,
    at: At,
}

/// How far into the first frame an answer is.
#[derive(Debug)]
enum At {
    /// So many bytes of its head are here.
    Head([u8; HEAD], usize),
    /// So many bytes of its message are still to come.
    Message(usize),
    Behind,
}

impl Tag {
    pub(super) fn new(more: Bytes) -> Self {
        let at = match more.is_empty() {
            true => At::Behind,
            false => At::Head([0; HEAD], 0),
        };
        Self { more, at }
    }

    /// Takes some bytes of the answer; what is to be sent of them goes to `out`.
    pub(super) fn pass(&mut self, mut bytes: Bytes, out: &mut Vec<Bytes>) {
        if let At::Head(head, filled) = &mut self.at {
            let missing = (HEAD - *filled).min(bytes.len());
            let part = bytes.split_to(missing);
            head[*filled..*filled + missing].copy_from_slice(&part);
            *filled += missing;
            if *filled < HEAD {
                return;
            }
            let mut head = *head;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let longer = length.checked_add(self.more.len() as u32);
            match longer {
                Some(longer) if head[0] == 0 => {
                    head[1..].copy_from_slice(&longer.to_be_bytes());
                    self.at = At::Message(length as usize);
                }
                // Compressed though nobody asked for it, or too long: as it is.
                _ => self.at = At::Behind,
            }
            out.push(Bytes::copy_from_slice(&head));
        }
        if let At::Message(left) = &mut self.at {
            let part = bytes.split_to(bytes.len().min(*left));
            *left -= part.len();
            let is_whole = *left == 0;
            if !part.is_empty() {
                out.push(part);
            }
            if is_whole {
                out.push(take(&mut self.more));
                self.at = At::Behind;
            }
        }
        if !bytes.is_empty() {
            out.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::{gateway::message::encode_field, proto::v1 as pb};

    fn frame(message: &impl Message, flag: u8) -> Vec<u8> {
        let mut bytes = vec![flag];
        bytes.extend((message.encoded_len() as u32).to_be_bytes());
        bytes.extend(message.encode_to_vec());
        bytes
    }

    fn chunk(connection: &str) -> pb::SearchStreamResponse {
        pb::SearchStreamResponse {
            arrow_ipc: Bytes::from(vec![7; 300]),
            served: Some(pb::Served {
                connection: connection.into(),
                version: 12,
                token: "token".into(),
                route: "round_robin(replica-1 1/2)".into(),
                ..Default::default()
            }),
        }
    }

    /// What comes out when the bytes come in pieces of `size`.
    fn passed(bytes: &[u8], size: usize, more: &Bytes) -> Vec<u8> {
        let (mut tag, mut out) = (Tag::new(more.clone()), Vec::new());
        for piece in bytes.chunks(size) {
            tag.pass(Bytes::copy_from_slice(piece), &mut out);
        }
        out.concat()
    }

    #[test]
    fn who_answered_is_put_behind_the_first_message_however_it_is_cut() {
        let more = encode_field(
            2,
            &pb::Served {
                connection: "nodes@a:1/replica-1".into(),
                route: "node(nodes@a:1) > round_robin(replica-1 1/2)".into(),
                ..Default::default()
            },
        );
        let bytes = [frame(&chunk("replica-1"), 0), frame(&chunk("second"), 0)].concat();
        for size in 1..=bytes.len() {
            let out = passed(&bytes, size, &more);
            assert_eq!(out.len(), bytes.len() + more.len());
            let length = u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize;
            let first = pb::SearchStreamResponse::decode(&out[5..5 + length]).unwrap();
            let served = first.served.unwrap();
            assert_eq!(served.connection, "nodes@a:1/replica-1");
            assert!(served.route.starts_with("node("));
            // What the node said and nobody replaced is still there.
            assert_eq!((served.version, served.token.as_str()), (12, "token"));
            assert_eq!(first.arrow_ipc, chunk("").arrow_ipc);
            assert_eq!(out[5 + length..], frame(&chunk("second"), 0));
        }
    }

    #[test]
    fn an_empty_message_gets_it_and_a_compressed_one_does_not() {
        let more = Bytes::from_static(b"more");
        assert_eq!(passed(&[0, 0, 0, 0, 0], 2, &more), b"\0\0\0\0\x04more");
        let compressed = frame(&chunk("x"), 1);
        assert_eq!(passed(&compressed, 7, &more), compressed);
        assert_eq!(passed(&[], 1, &more), b"");
    }
}
