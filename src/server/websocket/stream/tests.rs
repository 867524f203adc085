//! A client that writes frames by hand, against the stream.

use super::*;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn agreement() -> Agreement {
    let max_payload = Arc::new(AtomicUsize::new(1 << 20));
    Agreement { masked: true, masks: false, compression: true, browser: false, max_payload }
}

fn pair(agreement: Agreement, buffer: usize) -> (WebSocketStream<DuplexStream>, DuplexStream) {
    let (near, far) = tokio::io::duplex(buffer);
    let mut stream = WebSocketStream::new(near, agreement);
    stream.set_farewell(Box::new(|| (1001, "Server Shutdown".into())));
    (stream, far)
}

/// A frame as a client sends it.
fn client_frame(opcode: Opcode, last: bool, compressed: bool, payload: &[u8]) -> Vec<u8> {
    let key = [7, 99, 0, 250];
    let mut out = Vec::new();
    Header { opcode, last, compressed, mask: Some(key), length: payload.len() as u64 }.write(&mut out);
    let at = out.len();
    out.extend_from_slice(payload);
    frame::mask(key, 0, &mut out[at..]);
    out
}

/// The frames in what the server sent, which is nothing but whole frames without masks.
fn server_frames(mut bytes: &[u8]) -> Vec<(Opcode, Vec<u8>)> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (header, size) = Header::parse(bytes).expect("valid").expect("whole");
        assert!(header.mask.is_none() && header.last);
        let end = size + header.length as usize;
        let body = bytes[size..end].to_vec();
        let body = if header.compressed { deflate::decompress(body, 1 << 24).expect("deflate") } else { body };
        frames.push((header.opcode, body));
        bytes = &bytes[end..];
    }
    frames
}

/// What the server reads and says when a client sends `bytes` and half-closes.
async fn exchange(agreement: Agreement, bytes: Vec<u8>) -> (Result<Vec<u8>, String>, Vec<(Opcode, Vec<u8>)>) {
    let (mut stream, far) = pair(agreement, 1 << 16);
    let (mut answers, mut requests) = tokio::io::split(far);
    let client = tokio::spawn(async move {
        let _ = requests.write_all(&bytes).await;
        let _ = requests.shutdown().await;
    });
    let reader = tokio::spawn(async move {
        let mut all = Vec::new();
        answers.read_to_end(&mut all).await.expect("read");
        all
    });
    let mut got = Vec::new();
    let result = stream.read_to_end(&mut got).await.map(|_| got).map_err(|e| e.to_string());
    stream.shutdown().await.expect("ended");
    drop(stream);
    client.await.expect("sent");
    (result, server_frames(&reader.await.expect("received")))
}

#[tokio::test]
async fn fragments_control_frames_and_compression_become_one_stream() {
    let text = b"PUB a 5\r\nhello\r\n".repeat(20);
    let squeezed = deflate::compress(&text);
    let (front, back) = squeezed.split_at(9);
    let bytes = [
        client_frame(Opcode::Binary, false, false, b"CON"),
        client_frame(Opcode::Ping, true, false, b"there?"),
        client_frame(Opcode::Continuation, false, false, b""),
        client_frame(Opcode::Continuation, true, false, b"NECT {}\r\n"),
        client_frame(Opcode::Pong, true, false, b"unasked"),
        client_frame(Opcode::Text, false, true, front),
        client_frame(Opcode::Continuation, true, false, back),
        client_frame(Opcode::Close, true, false, &frame::close_payload(1000, "bye")),
        client_frame(Opcode::Binary, true, false, b"never seen"),
    ];
    let (got, answers) = exchange(agreement(), bytes.concat()).await;
    assert_eq!(got, Ok([&b"CONNECT {}\r\n"[..], &text].concat()));
    assert_eq!(answers, [(Opcode::Pong, b"there?".to_vec()), (Opcode::Close, frame::close_payload(1000, "bye"))]);
}

#[tokio::test]
async fn a_breach_is_told_in_the_close_frame() {
    let plain = Agreement { compression: false, ..agreement() };
    let unmasked = [0x82, 1, b'x'].to_vec();
    let bomb = client_frame(Opcode::Binary, true, true, &deflate::compress(&vec![0; 2 << 20]));
    for (agreement, bytes, status, text) in [
        (agreement(), unmasked, 1002, "mask bit missing"),
        (agreement(), client_frame(Opcode::Continuation, true, false, b"x"), 1002, "invalid continuation frame"),
        (agreement(), bomb, 1009, "maximum payload exceeded"),
        (
            plain,
            client_frame(Opcode::Binary, true, true, b"x"),
            1002,
            "compressed frame received without negotiated permessage-deflate",
        ),
        (agreement(), client_frame(Opcode::Close, true, false, &[3]), 1002, "close frame payload cannot be 1 byte"),
    ] {
        let (got, answers) = exchange(agreement, bytes).await;
        assert_eq!(got, Err(text.to_owned()));
        assert_eq!(answers, [(Opcode::Close, frame::close_payload(status, text))]);
    }
}

#[tokio::test]
async fn what_came_before_a_breach_is_handed_over() {
    let (mut stream, mut far) = pair(agreement(), 1 << 16);
    let bytes = [client_frame(Opcode::Binary, true, false, b"PING\r\n"), vec![0x82, 1, b'x']].concat();
    far.write_all(&bytes).await.expect("sent");
    let mut got = [0; 100];
    assert_eq!(stream.read(&mut got).await.expect("the bytes before"), 6);
    assert!(stream.read(&mut got).await.expect_err("the breach").to_string().contains("mask bit missing"));
}

#[tokio::test]
async fn what_is_written_arrives_in_messages() {
    for (agreement, limit) in [
        (Agreement { compression: false, ..agreement() }, MESSAGE),
        (agreement(), MESSAGE),
        (Agreement { browser: true, ..agreement() }, BROWSER_MESSAGE),
    ] {
        let (mut stream, mut far) = pair(agreement, 1000);
        let data: Vec<u8> = (0..300_000u32).map(|n| (n / 7) as u8).collect();
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("read");
            all
        });
        stream.write_all(&data).await.expect("written");
        stream.flush().await.expect("flushed");
        stream.shutdown().await.expect("ended");
        drop(stream);
        let mut frames = server_frames(&reader.await.expect("received"));
        assert_eq!(frames.pop(), Some((Opcode::Close, frame::close_payload(1001, "Server Shutdown"))));
        assert!(frames.iter().all(|(opcode, body)| *opcode == Opcode::Binary && body.len() <= limit));
        assert_eq!(frames.into_iter().flat_map(|(_, body)| body).collect::<Vec<_>>(), data);
    }
}

#[tokio::test]
async fn pings_are_answered_while_the_other_side_is_slow_to_read() {
    let (stream, far) = pair(agreement(), 64);
    let (mut reading, mut writing) = tokio::io::split(stream);
    let (mut answers, mut requests) = tokio::io::split(far);
    let data = vec![b'x'; 5000];
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        writing.write_all(&sent).await.expect("written");
        writing.flush().await.expect("flushed");
        writing
    });
    let reader = tokio::spawn(async move {
        let mut got = Vec::new();
        reading.read_to_end(&mut got).await.expect("read");
        (reading, got)
    });
    for n in 0..200u8 {
        requests.write_all(&client_frame(Opcode::Ping, true, false, &[n])).await.expect("ping");
    }
    requests.write_all(&client_frame(Opcode::Close, true, false, &[])).await.expect("close");
    let collected = tokio::spawn(async move {
        let mut all = Vec::new();
        answers.read_to_end(&mut all).await.expect("read");
        all
    });
    let mut writing = writer.await.expect("written");
    assert!(reader.await.expect("read").1.is_empty());
    writing.shutdown().await.expect("ended");
    drop(writing);
    let frames = server_frames(&collected.await.expect("received"));
    let messages: Vec<u8> = frames.iter().filter(|f| f.0 == Opcode::Binary).flat_map(|f| f.1.clone()).collect();
    assert_eq!(messages, data);
    assert_eq!(frames.iter().rfind(|f| f.0 == Opcode::Pong).map(|f| f.1.clone()), Some(vec![199]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_end_the_connection_or_are_data(bytes in proptest::collection::vec(any::<u8>(), 0..400), masked: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (mut stream, mut far) = pair(Agreement { masked, ..agreement() }, 1 << 16);
            far.write_all(&bytes).await.expect("sent");
            drop(far);
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got).await;
            assert!(got.len() <= 1 << 20);
        });
    }
}
