//! Writes the steps of a response in the dialect of its request.

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::tcp::WriteHalf, time::sleep};

use super::Step;

/// One response.
pub(super) struct Writer<'a> {
    to_client: WriteHalf<'a>,
    ollama: bool,
    single: bool,
}

impl<'a> Writer<'a> {
    /// Nothing is written yet.
    pub(super) fn new(to_client: WriteHalf<'a>, ollama: bool) -> Writer<'a> {
        Writer { to_client, ollama, single: false }
    }

    /// Writes the response; whether the connection can bring another request.
    pub(super) async fn run(&mut self, steps: Vec<Step>) -> bool {
        for step in steps {
            let done = match step {
                Step::Status(status, body) => {
                    return self.whole(status, &[], body.to_string().as_bytes()).await.is_ok();
                }
                Step::Whole(status, heads, body) => return self.whole(status, &heads, &body).await.is_ok(),
                Step::OneObject(text) => return self.one_object(&text).await.is_ok(),
                Step::Head => self.head().await,
                Step::Text(text) => self.text("content", json!(text)).await,
                Step::Content(content) => self.text("content", content).await,
                Step::Event(value) => self.line(&value).await,
                Step::Done if self.ollama => self.line(&json!({ "done": true })).await,
                Step::Done => self.chunk(b"data: [DONE]\n\n").await,
                Step::Thought(text) => {
                    self.text(if self.ollama { "thinking" } else { "reasoning_content" }, json!(text)).await
                }
                Step::Finish(reason) => self.finish(&reason).await,
                Step::Error(words) if self.ollama => self.line(&json!({ "error": words })).await,
                Step::Error(words) => self.line(&json!({ "error": { "message": words } })).await,
                Step::Raw(bytes) => self.chunk(&bytes).await,
                Step::ByteByByte => {
                    self.single = true;
                    Ok(())
                }
                Step::Wait(time) => {
                    sleep(time).await;
                    Ok(())
                }
                Step::Hang => std::future::pending().await,
                Step::End => break,
                Step::Cut => return false,
            };
            if done.is_err() {
                // The reading side sees that the client is gone, and says so.
                std::future::pending::<()>().await;
            }
        }
        self.to_client.write_all(b"0\r\n\r\n").await.is_ok()
    }

    async fn whole(&mut self, status: u16, heads: &[(String, String)], body: &[u8]) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
        if !heads.iter().any(|(name, _)| name == "content-type") {
            head.push_str("content-type: application/json\r\n");
        }
        heads.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        self.to_client.write_all(&[head.as_bytes(), b"\r\n", body].concat()).await
    }

    async fn one_object(&mut self, text: &str) -> std::io::Result<()> {
        let message = json!({ "role": "assistant", "content": text });
        let body = match self.ollama {
            true => json!({ "message": message, "done": true, "done_reason": "stop" }),
            false => {
                json!({ "object": "chat.completion", "choices": [{ "message": message, "finish_reason": "stop" }] })
            }
        };
        self.whole(200, &[], body.to_string().as_bytes()).await
    }

    async fn head(&mut self) -> std::io::Result<()> {
        let kind = if self.ollama { "application/x-ndjson" } else { "text/event-stream" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
        self.to_client.write_all(head.as_bytes()).await
    }

    async fn text(&mut self, field: &str, text: Value) -> std::io::Result<()> {
        let line = match self.ollama {
            true => {
                json!({ "model": "fake", "message": { "role": "assistant", "content": "", field: text }, "done": false })
            }
            false => json!({ "choices": [{ "index": 0, "delta": { field: text }, "finish_reason": null }] }),
        };
        self.line(&line).await
    }

    async fn finish(&mut self, reason: &str) -> std::io::Result<()> {
        if self.ollama {
            let counts = json!({ "done": true, "done_reason": reason, "message": { "content": "" }, "prompt_eval_count": 11, "eval_count": 7 });
            return self.line(&counts).await;
        }
        self.line(&json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": reason }] })).await?;
        self.line(&json!({ "choices": [], "usage": { "prompt_tokens": 11, "completion_tokens": 7 } })).await?;
        self.chunk(b"data: [DONE]\n\n").await
    }

    async fn line(&mut self, line: &Value) -> std::io::Result<()> {
        let line = if self.ollama { format!("{line}\n") } else { format!("data: {line}\n\n") };
        self.chunk(line.as_bytes()).await
    }

    async fn chunk(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        for part in bytes.chunks(if self.single { 1 } else { bytes.len().max(1) }) {
            let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
            chunk.extend_from_slice(part);
            chunk.extend_from_slice(b"\r\n");
            self.to_client.write_all(&chunk).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
