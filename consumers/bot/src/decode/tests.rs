//! Answers as servers were seen to serve them, cut in every way.

use proptest::prelude::*;

use super::*;

/// Words, notes and the end, or the error's code; the same for every way of cutting the bytes.
fn read(body: impl AsRef<[u8]>) -> Result<(String, Vec<String>, Finish), ModelError> {
    let body = body.as_ref();
    let cut = |size: usize| {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        body.chunks(size).try_for_each(|bytes| decoder.push(bytes, &mut out))?;
        let end = decoder.end(&mut out)?;
        let (mut words, mut notes) = (String::new(), Vec::new());
        for event in out {
            match event {
                Event::Text(text) => words.push_str(&text),
                Event::Note(note) => notes.push(note),
                _ => {}
            }
        }
        let Event::Done { finish, .. } = end else { panic!("{end:?}") };
        Ok((words, notes, finish))
    };
    let whole = cut(body.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(cut(size), whole, "pieces of {size}");
    }
    whole
}

fn chunk(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";

#[test]
fn a_whole_answer_is_read_however_it_is_served() {
    let well = |words: &str| Ok((words.to_owned(), vec![], Finish::Stop));
    let done = "data: [DONE]\n\n";
    for body in [
        chunk("Hi") + &chunk(" there") + STOP + done,
        chunk("Hi") + &chunk(" there") + STOP,
        chunk("Hi") + &chunk(" there") + done,
        (chunk("Hi") + &chunk(" there") + "data: [DONE]").replace("\n\n", "\n"),
        (chunk("Hi") + &chunk(" there") + STOP + done).replace('\n', "\r\n"),
        format!("\u{feff}: ping\r\r{}", (chunk("Hi") + &chunk(" there") + STOP).replace('\n', "\r")),
        r#"{"choices":[{"message":{"content":"Hi there"},"finish_reason":"stop"}]}"#.into(),
        "{\n \"choices\": [{\n  \"message\": {\"content\": \"Hi there\"},\n\n  \"finish_reason\": \"eos_token\"}]\n}\n".into(),
        r#"{"message":{"content":"Hi there"},"done":true,"done_reason":"stop"}"#.into(),
        "{\"message\":{\"content\":\"Hi\"},\"done\":false}\n{\"message\":{\"content\":\" there\"},\"done\":false}\n{\"done\":true}".into(),
        // The whole answer once more at the end.
        chunk("Hi") + "data: {\"choices\":[{\"message\":{\"content\":\"Hi there\"},\"finish_reason\":\"stop\"}]}\n\n",
        chunk("Hi there") + STOP + "data: {\"error\":\"too late\"}\n\ndata: nonsense\n\n",
        "data: {'choices': [{'delta': {'content': 'Hi there'}, 'logprobs': None, 'p': NaN},]}\n\n".to_owned() + STOP,
    ] {
        assert_eq!(read(&body), well("Hi there"), "{body}");
    }
}

#[test]
fn one_unreadable_thing_costs_that_thing_and_is_told() {
    for bad in ["data: {\"choices\":[{\"del\n\n", "data: hello\n\n", "data: {\"answer\":1}\n\n", "Bad Gateway\n"] {
        let (words, notes, _) = read(chunk("Hi") + bad + &chunk(" there") + STOP).unwrap();
        assert_eq!(words, "Hi there", "{bad}");
        assert!(
            notes.len() == 1 && notes[0].starts_with("unreadable: ") && notes[0].contains("one thing"),
            "{notes:?}"
        );
    }
    let (words, notes, finish) = read(chunk("Hi") + &STOP.replace("\"stop\"", "\"because\"")).unwrap();
    assert_eq!((words.as_str(), finish), ("Hi", Finish::Stop));
    assert!(notes[0].starts_with("unknown-end: ") && notes[0].contains("`because`"), "{notes:?}");
}

#[test]
fn what_is_not_whole_is_no_answer() {
    for (body, code, again) in [
        (chunk("Hi"), codes::BROKE_OFF, true),
        (chunk("Hi") + "data: hello\n\n", codes::BROKE_OFF, true),
        (String::new(), codes::BROKE_OFF, true),
        (chunk("Hi") + "data: {\"error\":{\"message\":\"no memory\"}}\n\n" + STOP, codes::ERROR, true),
        (chunk("Hi") + "event: error\ndata: no memory\n\n", codes::ERROR, true),
        (chunk("Hi") + &STOP.replace("stop", "abort"), codes::FINISH, true),
        (chunk("Hi") + &STOP.replace("stop", "content_filter"), codes::FINISH, false),
        ("data: hello\n\n".to_owned() + STOP, codes::PROTOCOL, true),
    ] {
        let error = read(&body).unwrap_err();
        assert_eq!((error.code, error.retryable), (code, again), "{body}: {error}");
    }
}

#[test]
fn what_came_instead_of_an_answer_is_told() {
    let page = "<!doctype html>\n<html><head><title>Sign in</title></head><body>…</body></html>";
    for (body, words, again) in [
        (page.as_bytes(), "`Sign in`", false),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "gzip", false),
        (b"Internal Server Error", "Internal Server Error", true),
        (br#"{"error":"Unexpected endpoint or method. (POST /chat)"}"#, "check its address", false),
        (br#"{"error":"out of memory"}"#, "out of memory", true),
        (br#"{"detail":"out of memory"}"#, "out of memory", true),
    ] {
        let error = read(body).unwrap_err();
        assert!(error.words.contains(words) && error.retryable == again, "{error}");
    }
    let endless = "nonsense\n".repeat(10_000);
    assert_eq!(read(endless).unwrap_err().code, codes::PROTOCOL);
}

#[test]
fn thoughts_and_counts_come_beside_the_words() {
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    let body = "data: {\"choices\":[{\"delta\":{\"reasoning\":\"hm\"}}]}\n\n".to_owned()
        + &chunk("Hi")
        + STOP
        + "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n";
    decoder.push(body.as_bytes(), &mut out).unwrap();
    assert!(decoder.ended() && !decoder.done());
    let usage = Some(Usage { prompt_tokens: 3, completion_tokens: 5 });
    assert_eq!(decoder.end(&mut out), Ok(Event::Done { finish: Finish::Stop, usage }));
    assert_eq!(out, [Event::Thinking("hm".into()), Event::Text("Hi".into())]);
}

#[test]
fn reading_that_moves_on_is_a_sign_of_life_until_the_first_word_and_standing_still_is_none() {
    let at = |processed: u32| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{}}}}],\"prompt_progress\":{{\"total\":9,\"processed\":{processed}}}}}\n\n"
        )
    };
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    let body = at(0) + &at(3) + ":\n\n" + &at(3) + &at(9) + &chunk("Hi") + &at(12);
    decoder.push(body.as_bytes(), &mut out).unwrap();
    assert_eq!(out, [Event::Reading, Event::Reading, Event::Text("Hi".into())]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn whatever_comes_is_read_the_same_however_it_is_cut(
        parts in prop::collection::vec(prop::sample::select(vec![
            "data: ", "event: error\n", "\n", "\r\n", "\n\n", "{", "}", "[", "]", "\"", "\\", "'", "[DONE]", ":", ",", "é", "<html>",
            "{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}", "{\"message\":{\"content\":\"b\"},\"done\":false}",
            "error: ", "{\"done\":true}", "{\"choices\":[{\"finish_reason\":\"stop\"}]}", "{\"error\":\"no\"}", "{\"content\":[1,{}]}",
        ]), 0..24),
    ) {
        // The same for every way of cutting it is what `read` looks at.
        let _ = read(parts.concat());
    }
}
