//! gRPC's frame around a message: whether it is compressed, and its length.

/// Length of a frame's head: one byte, and 32 bits of length.
pub const HEAD: usize = 5;

/// The message of a body that is one frame; `None` where it is something else, or
/// compressed.
pub fn message(body: &[u8]) -> Option<&[u8]> {
    let (head, message) = body.split_at_checked(HEAD)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    (head[0] == 0 && message.len() == length as usize).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_plain_frame_is_a_message() {
        assert_eq!(message(b"\0\0\0\0\x02ab"), Some(&b"ab"[..]));
        assert_eq!(message(b"\0\0\0\0\0"), Some(&b""[..]));
        for other in [
            &b""[..],
            b"\0\0\0\0",
            b"\x01\0\0\0\x02ab",
            b"\0\0\0\0\x03ab",
            b"\0\0\0\0\x01ab",
        ] {
            assert_eq!(message(other), None, "{other:?}");
        }
    }
}
