//! Texts of models with their marks, cut in every way.

use proptest::prelude::*;

use super::*;

/// Words and thoughts of a text in these pieces.
fn split<'a>(inside: bool, pieces: impl IntoIterator<Item = &'a str>) -> (String, String, Thoughts) {
    let mut thoughts = Thoughts::new(inside);
    let mut stretches: Vec<_> = pieces.into_iter().flat_map(|piece| thoughts.push(piece)).collect();
    stretches.extend(thoughts.finish());
    let (mut words, mut thought) = (String::new(), String::new());
    for stretch in stretches {
        match stretch {
            Stretch::Words(text) => words.push_str(&text),
            Stretch::Thought(text) => thought.push_str(&text),
        }
    }
    (words, thought, thoughts)
}

#[track_caller]
fn check(text: &str, words: &str, thought: &str) {
    let letters: Vec<String> = text.chars().map(String::from).collect();
    for pieces in [vec![text], letters.iter().map(String::as_str).collect()] {
        let count = pieces.len();
        let (said, thoughts, _) = split(false, pieces);
        assert_eq!((said.as_str(), thoughts.as_str()), (words, thought), "{text:?} in {count} pieces");
    }
    assert_eq!(spoken(text), words);
}

#[test]
fn thoughts_are_told_from_words_whatever_the_model_calls_them() {
    check("<think>\nrude\n</think>\n\nHello", "\n\nHello", "\nrude\n");
    check(" \n<Thinking>a</thinking>b", " \nb", "a");
    check("<thought>a</thought>b", "b", "a");
    check("[THINK]a[/THINK]b", "b", "a");
    check("◁think▷a◁/think▷b", "b", "a");
    check("<think>a</think>b\n<think>c</think>d", "b\nd", "ac");
    check("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", "b", "a");
    check("<|channel|>commentary to=user<|message|>a<|channel|>final<|message|>b", "b", "a");
    check("<|channel>thought\na<channel|>b", "b", "\na");
}

#[test]
fn marks_of_templates_are_taken_out_and_the_next_turn_ends_the_answer() {
    check("Hello<|im_end|>", "Hello", "");
    check("Hello<end_of_turn>\n", "Hello\n", "");
    check("<|im_start|>assistant\nHello<|eot_id|>", "Hello", "");
    check("Hello<|im_end|>\n<|im_start|>user\nAnd now?", "Hello\n", "");
    check("Hello<|im_end|>\n<|im_start|>admin\nAnd now?", "Hello\n", "");
    check("Hello<|im_end|>\n<|im_start|>assistant\n!", "Hello\n!", "");
    check("Hello</s> \n", "Hello \n", "");
    check("<s>old</s> new", "<s>old</s> new", "");
    check("<｜Assistant｜>Hello<｜end▁of▁sentence｜>", "Hello", "");
}

#[test]
fn text_about_marks_is_text() {
    for text in [
        "`<think>` opens a thought and `</think>` ends it.",
        "Use <think> to think.",
        "```xml\n<think>\na\n</think>\n<|im_end|>\n```\n",
        "a < b [1] <thin",
        "x <|im_en",
        "Vec<think::A>",
    ] {
        check(text, text, "");
    }
}

#[test]
fn a_thought_without_an_end_is_one_only_at_the_beginning() {
    check("<think>for ever", "", "for ever");
    check("Yes.\n<think>\nis how it begins", "Yes.\n\nis how it begins", "");
}

#[test]
fn an_answer_that_begins_inside_a_thought_is_known_by_its_end() {
    let (_, _, thoughts) = split(false, ["hm\n", "</think>\n\nHello"]);
    assert!(thoughts.unopened());
    assert_eq!(split(true, ["hm\n", "</thi", "nk>\n\nHello"]).0, "\n\nHello");
    assert_eq!(split(true, ["Hello"]).0, "Hello", "without an end it was no thought");
    assert!(!split(false, ["It is `</think>` that ends it"]).2.unopened());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_way_of_cutting_the_text_gives_the_same(
        parts in prop::collection::vec(prop::sample::select(vec![
            "<think>", "</think>", "<|channel|>", "final", "analysis", "<|message|>", "<|end|>", "<|start|>", "</s>",
            "<|im_end|>", "<|im_start|>user", "`", "```", "\n", "a", " ", "<", "[think]", "[/think]", "é",
        ]), 0..12),
        cuts in prop::collection::vec(any::<bool>(), 160),
        inside: bool,
    ) {
        let text = parts.concat();
        let mut pieces = vec![String::new()];
        for (c, cut) in text.chars().zip(cuts) {
            if cut {
                pieces.push(String::new());
            }
            pieces.last_mut().unwrap().push(c);
        }
        let (words, thought, _) = split(inside, [text.as_str()]);
        let (words_cut, thought_cut, _) = split(inside, pieces.iter().map(String::as_str));
        prop_assert_eq!((words, thought), (words_cut, thought_cut));
    }
}
