//! Messages to a server and back, over one TCP connection that ends with them.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long an answer may take: a server may write to its disk first.
const ANSWER: Duration = Duration::from_secs(5);

/// The answer to each message, in order.
///
/// # Errors
/// What the network gives, or that it takes too long.
pub async fn exchange(server: SocketAddr, messages: &[Vec<u8>]) -> io::Result<Vec<Vec<u8>>> {
    let mut tcp = timeout(CONNECT, TcpStream::connect(server)).await??;
    tcp.set_nodelay(true)?;
    let mut answers = Vec::with_capacity(messages.len());
    for message in messages {
        let len = u16::try_from(message.len()).map_err(io::Error::other)?;
        let answered = timeout(ANSWER, async {
            tcp.write_all(&[&len.to_be_bytes()[..], message].concat()).await?;
            let mut answer = vec![0; usize::from(tcp.read_u16().await?)];
            tcp.read_exact(&mut answer).await?;
            io::Result::Ok(answer)
        });
        answers.push(answered.await??);
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn answers_come_in_order_and_a_server_that_ends_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                let mut message = vec![0; usize::from(tcp.read_u16().await.unwrap())];
                tcp.read_exact(&mut message).await.unwrap();
                message.reverse();
                // In pieces.
                tcp.write_u16(u16::try_from(message.len()).unwrap()).await.unwrap();
                tcp.write_all(&message).await.unwrap();
            }
        });
        let messages = [vec![1, 2], vec![3, 4, 5], vec![6]];
        assert_eq!(exchange(server, &messages[..2]).await.unwrap(), [vec![2, 1], vec![5, 4, 3]]);
        serving.await.unwrap();
        assert!(exchange(server, &messages).await.is_err());
    }
}
