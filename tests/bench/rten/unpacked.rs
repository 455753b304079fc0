//! ONNX files as rten 0.27 reads them. Tract's `pb` writes repeated numbers packed, which Protocol Buffers lets every reader expect; rten's reader
//! takes attributes and dimensions only one by one, as ONNX's own definition has them.

/// The messages on the way to what is rewritten.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

/// The same model with unpacked `ints`, `floats` and `dims`; none if it is no Protocol Buffers message.
pub(crate) fn unpacked(model: &[u8]) -> Option<Vec<u8>> {
    rewritten(model, Message::Model)
}

fn rewritten(mut from: &[u8], message: Message) -> Option<Vec<u8>> {
    let mut to = Vec::with_capacity(from.len());
    while !from.is_empty() {
        let (key, key_bytes) = varint(&mut from)?;
        // Numbers of fields are those of onnx.proto.
        let (field, wire) = (key >> 3, key & 7);
        let fixed = match wire {
            0 => {
                to.extend_from_slice(key_bytes);
                to.extend_from_slice(varint(&mut from)?.1);
                continue;
            }
            1 => 8,
            5 => 4,
            2 => 0,
            _ => return None,
        };
        if fixed > 0 {
            to.extend_from_slice(key_bytes);
            to.extend_from_slice(from.split_off(..fixed)?);
            continue;
        }
        let length = varint(&mut from)?.0;
        let mut content = from.split_off(..usize::try_from(length).ok()?)?;
        let inner = match (message, field) {
            (Message::Model, 7) => Some(Message::Graph),
            (Message::Graph, 1) => Some(Message::Node),
            (Message::Node, 5) => Some(Message::Attribute),
            (Message::Graph | Message::Attribute, 5) => Some(Message::Tensor),
            _ => None,
        };
        match (message, field) {
            (Message::Attribute, 8) | (Message::Tensor, 1) => {
                while !content.is_empty() {
                    put_varint(&mut to, field << 3);
                    to.extend_from_slice(varint(&mut content)?.1);
                }
            }
            (Message::Attribute, 7) => {
                for float in content.chunks_exact(4) {
                    put_varint(&mut to, field << 3 | 5);
                    to.extend_from_slice(float);
                }
            }
            _ => {
                let content = match inner {
                    Some(inner) => rewritten(content, inner)?,
                    None => content.to_vec(),
                };
                to.extend_from_slice(key_bytes);
                put_varint(&mut to, content.len() as u64);
                to.extend_from_slice(&content);
            }
        }
    }
    Some(to)
}

/// Takes a number from the front of `from`: its value, and its bytes.
fn varint<'a>(from: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let length = from.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let bytes = from.split_off(..length)?;
    Some((bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)), bytes))
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
