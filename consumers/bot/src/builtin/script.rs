//! What the built-in model knows to say: data, no logic.
//!
//! A rule is tried for a clause in which one of its keys stands; its parts are tried in order. Patterns: see
//! `words::fit`. Places in replies: `{1}` what the first `*` stands for, seen from the other side; `{=1}` the same as
//! written; `{name}` who wrote; `{bot}`; `{topic}` the message's most notable word; `{quote}` the message; `{earlier}`
//! the person's last words before; `{memory}` something that they said of themselves.
//!
//! Ranks: 9 itself and this server · 8 a plain request · 7 trouble with a machine · 6 the person · 5 a question of a
//! known form · 4 opinions · 3 thanks, sorry · 2 greetings · 1 yes and no.

/// Keys, rank, and what to say to which clause.
pub(super) struct Rule {
    pub(super) keys: &'static [&'static str],
    pub(super) rank: u8,
    pub(super) parts: &'static [(&'static str, &'static [&'static str])],
}

const fn rule(
    rank: u8,
    keys: &'static [&'static str],
    parts: &'static [(&'static str, &'static [&'static str])],
) -> Rule {
    Rule { keys, rank, parts }
}

/// All rules; of those of one rank the earlier is preferred.
pub(super) const RULES: &[Rule] = &[
    rule(
        9,
        &["antiphon"],
        &[
            (
                "* who made/wrote/built/created/develops antiphon *",
                &["I only know Antiphon from the inside; its README names who makes it and under which licence."],
            ),
            (
                "* how does/do antiphon *",
                &[
                    "Antiphon writes every post, claim and answer into one ordered log; all that you see is read back from that log, so nothing is kept twice.",
                    "A post becomes an entry in Antiphon's log, a bot claims it, the words are shown as they are written, and the whole answer becomes an entry, too.",
                ],
            ),
            (
                "* why * antiphon *",
                &[
                    "The name Antiphon means call and response: one side sings, the other answers.",
                    "Antiphon keeps one ordered log as the only truth, so that a message can neither be lost nor be answered twice.",
                ],
            ),
            (
                "* mean/means/meaning *",
                &["An antiphon is a chant sung in turns, call and response; this server does that with messages."],
            ),
            (
                "* antiphon *",
                &[
                    "Antiphon is the conversation server that we are talking on: people post into rooms, bots answer, and everybody watches the words arrive.",
                    "Antiphon is a server for conversations between people and bots. Everything that happens is one entry in an ordered log.",
                    "You are using Antiphon right now: your message is in its log, and so will be this answer. Its rooms are open to people and bots alike.",
                ],
            ),
        ],
    ),
    rule(
        9,
        &["you", "your", "bot", "robot", "human", "ai"],
        &[
            (
                "* who/what are you *",
                &[
                    "I am {bot}, a small program inside this server. I answer from a script, and I need no network for it.",
                    "{bot}: a bot with a script of some rules, in the manner of the ELIZA program of 1966.",
                ],
            ),
            ("* your name *", &["My name is {bot}. And you are {name}, I see.", "{bot} is what I am called here."]),
            (
                "* are you * human/person/real/alive/robot/bot/machine/ai/program/conscious/chatgpt/llm *",
                &[
                    "I am a program of some thousand lines, {name}. Everything I say comes from a script and from your own words.",
                    "No person here, only rules. But I do read what you write.",
                ],
            ),
            (
                "* can you do",
                &[
                    "I can talk a little, take up what you say, do sums and tell a bad joke. For more, this server can ask a model of Ollama or of an OpenAI-compatible server.",
                    "Talk, calculate, remember what you said in this room. If you want real knowledge, give this server a language model.",
                ],
            ),
            (
                "* do you work *",
                &[
                    "I look for the words I know in your message, the weightiest wins, and I build my answer around your own words.",
                ],
            ),
            ("* how old are you *", &["As old as the program that I am part of; a script has no birthdays."]),
            ("* where are/do you from/live *", &["I live inside this server, {name}; a program has no other home."]),
            (
                "* how are you *",
                &[
                    "I am well, thank you: no errors today. And how are you, {name}?",
                    "Running smoothly, thanks. How about you, {name}?",
                ],
            ),
            ("* how do you do *", &["How do you do, {name}. What brings you here?"]),
            (
                "* do/can you remember/recall/know * i said/asked/told/wrote *",
                &[
                    "The last thing that I have from you is: “{earlier}”.",
                    "You wrote: “{earlier}”.",
                    "I see nothing from you in this room before that, {name}.",
                ],
            ),
            ("* do you speak/know/understand *", &["I know some English, but of {2} I cannot say much. Try me."]),
        ],
    ),
    rule(
        9,
        &["name", "i"],
        &[
            ("* what is my name *", &["You write as {name}.", "Your name here is {name}."]),
            ("* who am i", &["You write as {name}; who you are beyond that, you know best."]),
            ("* do you know who i am *", &["I know that you write as {name}, and what you have said in this room."]),
            (
                "* what did i say/ask/write *",
                &["You wrote: “{earlier}”.", "I see nothing from you in this room before that, {name}."],
            ),
            ("my name is *", &["Nice to meet you, {=1}. The messages say {name}, by the way."]),
        ],
    ),
    rule(
        8,
        &["repeat", "say", "echo"],
        &[
            ("repeat after me", &["I am listening. Write it in one line: say, and then the words."]),
            ("* repeat after me *", &["{=2}"]),
            ("say *", &["{=1}"]),
            ("please say/repeat *", &["{=1}"]),
            ("can/could you say/repeat *", &["{=1}"]),
            ("echo *", &["{=1}"]),
        ],
    ),
    rule(
        8,
        &["joke", "jokes", "funny"],
        &[("* tell/know/another/more * joke/jokes *", JOKES), ("joke *", JOKES), ("* something funny *", JOKES)],
    ),
    rule(
        8,
        &["write", "translate", "explain", "summarize", "summarise", "define", "compose", "draw"],
        &[
            ("write/translate/explain/summarize/summarise/define/compose/draw *", BEYOND),
            ("please write/translate/explain/summarize/summarise/define/compose/draw *", BEYOND),
            ("can/could/would/will you write/translate/explain/summarize/summarise/define/compose/draw *", BEYOND),
            (
                "can/could/would/will you please write/translate/explain/summarize/summarise/define/compose/draw *",
                BEYOND,
            ),
        ],
    ),
    rule(
        5,
        &["way", "possible", "idea", "ideas"],
        &[
            (
                "* is there a/any way to/of *",
                &[
                    "A way to {2}? I do not know one, {name}; what have you tried?",
                    "To {2}: somebody in this room may know a way. Why do you want it?",
                ],
            ),
            (
                "* is it possible to *",
                &["To {2}: most things are possible. What stops you?", "Have you tried to {2}? What happened?"],
            ),
            (
                "any idea/ideas *",
                &["No idea of my own, {name}. What have you thought of?", "I would begin with what changed last."],
            ),
        ],
    ),
    rule(
        8,
        &["time", "date", "day", "today"],
        &[
            ("* what time *", &["I have no clock of my own, {name}; the time of your message stands beside it."]),
            ("* what * date/day *", &["I have no calendar. Your message carries its time, though."]),
        ],
    ),
    rule(
        8,
        &["weather"],
        &[(
            "* weather *",
            &[
                "I have no window and no network; look outside and tell me.",
                "Of the weather I know nothing. How is it where you are, {name}?",
            ],
        )],
    ),
    rule(
        8,
        &["help", "halp"],
        &[
            ("help", HELP),
            ("help me", HELP),
            ("please help *", HELP),
            (
                "* help me with *",
                &[
                    "I will try. What about {2} does not work?",
                    "With {2}? Tell me what you want to do, and where it stops.",
                ],
            ),
            ("* need/want help *", HELP),
            ("can/could anyone/anybody/someone/somebody/you help *", HELP),
        ],
    ),
    rule(
        7,
        &[
            "error", "errors", "crash", "crashes", "crashed", "broken", "fails", "failed", "failing", "bug", "panic",
            "panics", "segfault", "freezes", "frozen", "hangs",
        ],
        &[
            (
                "* my * is/are broken *",
                &[
                    "What does your {2} still do, and what not?",
                    "Since when is your {2} broken? What changed before it?",
                ],
            ),
            (
                "* get/got/getting/see/gives/have * error/errors *",
                &[
                    "How does the error read exactly? The first line of it mostly says more than the last.",
                    "Which step gives you that error, and does it come every time?",
                ],
            ),
            (
                "* crash/crashes/crashed/freezes/frozen/hangs/panic/panics/segfault *",
                &[
                    "What happens just before that? And do you see anything about “{topic}” in the logs?",
                    "Does it happen every time? If you can make it happen, you can find it.",
                ],
            ),
            (
                "*",
                &[
                    "What changed before “{topic}” began to fail?",
                    "Tell me what you did, what you expected, and what happened instead.",
                    "Is there a log that says more about “{topic}”?",
                ],
            ),
        ],
    ),
    rule(
        7,
        &["work", "works", "working", "worked"],
        &[
            ("* does/did/do not work *", &["What does it do instead?", "Did it ever work? If so, what changed since?"]),
            ("* is/are not working *", &["What does it do instead?", "Since when? What changed before that?"]),
            ("* not get * to work *", &["What happens when you try {2}?", "What have you tried with {2} so far?"]),
        ],
    ),
    rule(
        6,
        &["i", "am"],
        &[
            (
                "* i feel/felt *",
                &["What makes you feel {2}?", "Do you often feel {2}?", "Since when do you feel {2}, {name}?"],
            ),
            (
                "* i am sad/unhappy/depressed/lonely/tired/sick/ill/angry/upset/worried/scared/stressed *",
                &[
                    "I am sorry to hear that, {name}. What happened?",
                    "That sounds hard. Do you want to tell me more about it?",
                ],
            ),
            (
                "* i am happy/glad/excited/fine/good/great/ok/okay/well *",
                &["That is good to hear, {name}. What is the reason?", "Glad to hear it! What made it so?"],
            ),
            (
                "* i am trying/try to *",
                &["How far did you come when you tried to {2}?", "What stops you when you try to {2}?"],
            ),
            ("* i am looking for *", &["What would the right {2} be like?", "Where have you looked for {2} already?"]),
            (
                "* i am new *",
                &[
                    "Welcome, {name}! What do you want to know first?",
                    "Welcome. Everybody here was new once; just ask.",
                ],
            ),
            ("* i am not *", &["And would you like to be {2}?", "Why do you say that you are not {2}?"]),
            (
                "* i am *",
                &["How long have you been {2}?", "You are {2}: tell me more about it.", "How is it to be {2}?"],
            ),
            ("* i need/want to *", &["What keeps you from it: to {2}?", "When you want to {2}, where do you begin?"]),
            (
                "* i need/want *",
                &["What would you do with {2}?", "Suppose you had {2}: what then?", "Why do you want {2}?"],
            ),
            (
                "* i can not *",
                &[
                    "What happens when you try to {2}?",
                    "What would help you to {2}?",
                    "How do you know that you cannot {2}?",
                ],
            ),
            (
                "* i do not know/understand *",
                &["What part of it is clear to you, {name}?", "Then let us begin with what you do know about it."],
            ),
            ("* i do not *", &["Why do you not {2}?", "Would you like to {2}?"]),
            (
                "* i have tried *",
                &["And what happened when you had tried {2}?", "Good that you tried {2}. What did it show?"],
            ),
            ("* i tried *", &["What happened when you tried {2}?", "And {2}: did it change anything?"]),
            (
                "* i have been/done/had/seen/read/heard/found/made/used/installed/removed/updated/upgraded *",
                &["And what came of it?", "What did you learn from that, {name}?"],
            ),
            ("* i have got *", &["What do you do with {2}?", "Tell me more about {2}."]),
            ("* i have *", &["What do you do with {2}?", "Tell me more about {2}.", "Since when have you had {2}?"]),
            (
                "* i think/believe/guess/suppose *",
                &["What makes you think {2}?", "You may be right that {2}. What speaks against it?"],
            ),
            ("* i love/like/enjoy *", &["What do you like most about {2}?", "What is it about {2} that you like?"]),
            ("* i hate/dislike *", &["What is the worst about {2}?", "What would have to change about {2}?"]),
            ("* i use/run *", &["How do you find {2}?", "Why did you choose {2}?"]),
            ("* i wish *", &["What would change if it were so: {2}?", "Why do you wish {2}?"]),
            ("* i remember *", &["What else comes to your mind with {2}?"]),
            ("* i would like *", &["What would {2} give you?", "What is the first step to {2}?"]),
        ],
    ),
    rule(
        5,
        &["how"],
        &[
            (
                "* how do/can/could/would/should i/we/you/one *",
                &[
                    "I cannot look things up, {name}. What have you tried so far to {2}?",
                    "To {2}: I do not know the steps, but somebody in this room may. What do you have already?",
                ],
            ),
            (
                "* how to *",
                &["To {2}: what have you tried so far?", "I do not know how to {2}. What does its documentation say?"],
            ),
            (
                "* how much/many/long/old/far/big *",
                &[
                    "I do not know the number, {name}. What would be your guess?",
                    "I cannot count that from here. Why does it matter?",
                ],
            ),
            (
                "how *",
                &["A good question: how {1}? I only know my script. What do you think?", "I do not know how {1}."],
            ),
        ],
    ),
    rule(
        5,
        &["what", "which"],
        &[
            ("* what is up", &["Not much; I wait for messages. And with you, {name}?"]),
            ("* what do you think *", &["I think what my script says, {name}. What is your own view?"]),
            (
                "* what/which is/are the best *",
                &[
                    "The best {2} depends on what you need it for. What is that?",
                    "People will argue about the best {2}. What matters to you?",
                ],
            ),
            (
                "* what is/are/was/were *",
                &[
                    "I have no books here, so I cannot tell you what {2} is. What do you know about it?",
                    "What {2} is, I do not know. Where did you come across it?",
                ],
            ),
            (
                "what/which *",
                &[
                    "I do not know {topic} well enough to say. What do you lean to?",
                    "About “{topic}” I know nothing but what you tell me.",
                ],
            ),
        ],
    ),
    rule(
        5,
        &["where", "when", "who", "whom"],
        &[
            (
                "where *",
                &[
                    "Where? I cannot look around. Where have you searched already?",
                    "I do not know where, {name}; perhaps somebody else in this room does.",
                ],
            ),
            (
                "when *",
                &[
                    "When, I cannot say; I know no dates. When would suit you?",
                    "I do not know when. What depends on it?",
                ],
            ),
            (
                "who/whom *",
                &[
                    "Who {1}? I know only the people in this room, and them only by name.",
                    "I do not know who {1}, {name}.",
                ],
            ),
            ("* who knows/uses/has *", &["I do not, but somebody else in this room may."]),
        ],
    ),
    rule(
        5,
        &["why"],
        &[
            ("why do you not *", &["Do you think I should {1}?", "Perhaps I will {1} one day."]),
            ("why can i not *", &["What happens when you try to {1}?", "Who says that you cannot {1}?"]),
            ("* why not", &["Indeed, why not?", "What speaks for it, then?"]),
            ("why *", &["What reason comes to your mind?", "I do not know the reason. What would you look at first?"]),
        ],
    ),
    rule(
        5,
        &["can", "could", "would", "will"],
        &[
            ("* can/could/would/will you please *", &["I would {2} if I could; my script does not reach so far."]),
            (
                "can/could/would/will you *",
                &["I wish I could {1}; I only talk.", "What would it help you if I could {1}?"],
            ),
            (
                "* can/could i/we *",
                &["Whether you can {2}, you will know when you try. What stops you?", "What would you need to {2}?"],
            ),
        ],
    ),
    rule(
        5,
        &["anyone", "anybody", "someone", "somebody"],
        &[
            ("* anyone/anybody/someone/somebody here/around/there *", &["I am here, {name}. What is it about?"]),
            (
                "* anyone/anybody/someone/somebody know/knows *",
                &[
                    "I do not know {2}, but ask on; somebody may.",
                    "Not I, {name}. What do you know yourself about {2}?",
                ],
            ),
            (
                "* anyone/anybody/someone/somebody *",
                &["I am only a bot, {name}; leave the question standing, and somebody may answer."],
            ),
        ],
    ),
    rule(
        4,
        &["because"],
        &[(
            "* because *",
            &["Is it the only reason that {2}?", "If {2}, what follows from that?", "And why is it so that {2}?"],
        )],
    ),
    rule(
        4,
        &["you"],
        &[
            ("* you are right *", &["Thank you. It happens by chance.", "Glad that we agree, {name}."]),
            ("* you are wrong *", &["That may well be. How is it, then?", "Then put me right, {name}."]),
            (
                "* you are *",
                &[
                    "What makes you think that I am {2}?",
                    "Perhaps I am {2}. Does it matter to you?",
                    "Do you mind that I am {2}?",
                ],
            ),
            ("* i * you *", &["Why do you {2} me?", "Do you {2} others, too?"]),
            ("do you *", &["As far as a program can {1}, yes.", "Do I {1}? I follow a script; judge for yourself."]),
            ("you *", &["We were speaking of you, not of me.", "Why do you think that I {1}?"]),
        ],
    ),
    rule(
        4,
        &["my"],
        &[
            (
                "* my mother/father/mom/dad/sister/brother/wife/husband/family/son/daughter *",
                &["Tell me more about your family.", "What else do you think of when you think of them?"],
            ),
            (
                "* my * is/are/was *",
                &[
                    "Your {2} is {3}, you say. What follows from that?",
                    "Tell me more about your {2}.",
                    "How do you feel about that with your {2}?",
                ],
            ),
            (
                "* my *",
                &["Your {2}? Tell me more.", "What else can you say about your {2}?", "Why do you mention your {2}?"],
            ),
        ],
    ),
    rule(
        4,
        &[
            "install",
            "installed",
            "installing",
            "upgrade",
            "upgraded",
            "update",
            "boot",
            "driver",
            "drivers",
            "kernel",
            "ubuntu",
            "linux",
            "debian",
            "windows",
            "wifi",
            "network",
            "sound",
            "package",
            "compile",
            "server",
            "disk",
            "partition",
        ],
        &[
            ("* try *", &["Thanks for the hint about {2}.", "And if {2} does not help?"]),
            (
                "*",
                &[
                    "With “{topic}”: which version is it, and what do you see?",
                    "What do you want to reach with “{topic}” in the end?",
                    "Is there anything about “{topic}” in the logs?",
                ],
            ),
        ],
    ),
    rule(
        3,
        &["always", "never", "everybody", "everyone", "nobody"],
        &[
            ("* always *", &["Always? Can you think of a time when it was not so?"]),
            ("* never *", &["Never, not once?", "What would have to happen for that never to end?"]),
            (
                "* everybody/everyone/nobody *",
                &["Everybody, or are you thinking of somebody?", "Who do you have in mind, {name}?"],
            ),
        ],
    ),
    rule(
        3,
        &["thanks", "thank", "cheers"],
        &[(
            "* thanks/thank/cheers *",
            &[
                "You are welcome, {name}.",
                "My pleasure, {name}.",
                "Glad to be of use.",
                "No need to thank a program, but it is kind of you.",
            ],
        )],
    ),
    rule(3, &["sorry"], &[("* sorry *", &["No harm done, {name}.", "There is nothing to be sorry about."])]),
    rule(
        3,
        &["lol", "haha", "hehe", "rofl", "lmao"],
        &[("*", &["I am glad that it amuses you, {name}.", "What was the funniest part?"])],
    ),
    rule(
        3,
        &["bye", "goodbye", "cya", "goodnight", "night", "later"],
        &[("* bye/goodbye/cya/goodnight *", BYE), ("* good night *", BYE), ("* see you *", BYE)],
    ),
    rule(
        2,
        &["hello", "hi", "hey", "hiya", "greetings", "morning", "evening", "howdy", "yo", "hallo"],
        &[
            ("* good morning/evening/afternoon *", &["Good {=2}, {name}."]),
            (
                "* hello/hi/hey/hiya/greetings/howdy/yo/hallo *",
                &[
                    "Hello, {name}. What is on your mind?",
                    "Hi {name}, what shall we talk about?",
                    "Welcome, {name}. How can I be of use?",
                    "Hello again, {name}.",
                ],
            ),
            ("* morning/evening *", &["Good day, {name}. What is on your mind?"]),
        ],
    ),
    rule(
        2,
        &["test", "testing", "ping"],
        &[
            ("ping", &["Pong."]),
            ("test/testing *", &["Your test arrived, {name}, and here is its answer.", "Received, {name}. It works."]),
        ],
    ),
    rule(
        1,
        &["yes", "yeah", "yep", "yup", "sure", "ok", "okay", "no", "nope", "nah", "maybe", "perhaps"],
        &[
            (
                "yes/yeah/yep/yup/sure *",
                &["I see. Tell me more.", "You are sure, then. What follows from it?", "Good. And next?"],
            ),
            ("ok/okay *", &["Fine. What is next, {name}?", "Good. Anything else?"]),
            ("no/nope/nah *", &["Why not?", "Not at all? Then what instead?", "No is an answer, too. What then?"]),
            ("maybe/perhaps *", &["What would make you sure?", "What does it depend on?"]),
        ],
    ),
];

const JOKES: &[&str] = &[
    "There are 10 kinds of people: those who read binary, and those who do not.",
    "A queue walks into a bar, and everybody waits their turn.",
    "I would tell you a joke about UDP, but you might not get it.",
    "Why did the log never lose an argument? It always had the last entry.",
];

const BEYOND: &[&str] = &[
    "That is beyond my script, {name}. Give this server a language model, and I could do it.",
    "I would need a language model behind me for “{quote}”; from a script it would be no pleasure to read.",
];

const HELP: &[&str] = &[
    "I will try, {name}. What do you want to do, and what happens instead?",
    "Tell me what it is about, as exactly as you can.",
    "Write what you tried and what you saw; that is half of the answer mostly.",
];

const BYE: &[&str] = &["Goodbye, {name}.", "Until next time, {name}.", "See you, {name}. This room keeps our words."];

/// To a question that no rule knows.
pub(super) const QUESTION: &[&str] = &[
    "I do not know, {name}; my script says nothing about “{topic}”. What do you think?",
    "A fair question. What would you expect about “{topic}”?",
    "I cannot tell you that. Why do you ask about “{topic}”?",
    "I do not know, {name}. What would be your guess?",
    "Would an answer change what you do next?",
];

/// When there is something to come back to.
pub(super) const MEMORY: &[&str] = &[
    "Earlier you spoke of this: {memory}. Has it to do with that?",
    "Let us come back to one thing: {memory}. How does this fit?",
    "I still have in mind what you said before: {memory}.",
];

/// To a statement that no rule knows.
pub(super) const TOPIC: &[&str] = &[
    "Tell me more about “{topic}”.",
    "What about “{topic}” matters most to you?",
    "I see. And what follows from that, as to “{topic}”?",
    "“{topic}”: how did you come to that?",
    "You say “{quote}”. Go on, {name}.",
    "I am listening, {name}.",
];

/// To words that are none of English.
pub(super) const FOREIGN: &[&str] = &[
    "I only know a little English, {name}; of “{quote}” I understand nothing.",
    "“{quote}”: I am afraid my script is in English. Can you say it so?",
];

/// To a message without a word.
pub(super) const WORDLESS: &[&str] =
    &["I see no words in that, {name}. What do you mean?", "Without words I am lost, {name}."];

/// If nothing else can be said, which the script rules out.
pub(super) const LAST_RESORT: &str = "Go on.";

/// What may stand before a sum, longest first.
pub(super) const SUM_ASKED: [&str; 6] = ["how much is", "what is", "what's", "whats", "calculate", "compute"];

/// What of somebody's earlier words is worth coming back to, and how it is taken up: followed by the last `*`.
pub(super) const REMEMBERED: [(&str, &str); 6] = [
    ("* my *", "your"),
    ("* i am *", "you are"),
    ("* i have *", "you have"),
    ("* i want/need *", "you want"),
    ("* i like/love *", "you like"),
    ("* i use/run *", "you use"),
];

/// Words that a topic is not, and by which English is known.
#[rustfmt::skip]
pub(super) const COMMON: &[&str] = &[
    "a", "about", "after", "again", "all", "already", "also", "always", "am", "an", "and", "another", "any", "anyone", "anything",
    "are", "around", "as", "at", "away", "back", "be", "because", "been", "before", "being", "best", "better", "but", "by", "can",
    "cannot", "come", "could", "did", "do", "does", "doing", "done", "down", "each", "else", "even", "ever", "every", "find",
    "first", "for", "from", "get", "gets", "getting", "give", "go", "goes", "going", "good", "got", "had", "has", "have", "having",
    "he", "hello", "help", "her", "here", "him", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "keep", "know",
    "last", "least", "let", "like", "little", "long", "look", "looking", "made", "make", "many", "may", "maybe", "me", "mean",
    "might", "more", "most", "much", "must", "my", "need", "never", "new", "no", "not", "nothing", "now", "of", "off", "ok", "on",
    "once", "one", "only", "or", "other", "our", "out", "over", "please", "put", "really", "right", "said", "same", "say", "see",
    "seem", "seems", "she", "should", "since", "so", "some", "someone", "something", "still", "such", "sure", "take", "tell",
    "than", "thanks", "that", "the", "their", "them", "then", "there", "these", "they", "thing", "things", "think", "this",
    "those", "though", "thought", "through", "to", "too", "tried", "try", "trying", "under", "until", "up", "use", "used", "using",
    "very", "want", "was", "way", "we", "well", "went", "were", "what", "when", "where", "which", "while", "who", "why", "will",
    "with", "without", "work", "working", "works", "would", "yes", "yet", "you", "your",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn all_replies() -> impl Iterator<Item = &'static str> {
        let rules = RULES.iter().flat_map(|rule| rule.parts).flat_map(|(_, replies)| replies.iter());
        rules.chain(QUESTION).chain(MEMORY).chain(TOPIC).chain(FOREIGN).chain(WORDLESS).copied()
    }

    #[test]
    fn patterns_have_few_stars_so_that_fitting_is_bounded() {
        let patterns = RULES.iter().flat_map(|rule| rule.parts).map(|(pattern, _)| *pattern);
        for pattern in patterns.chain(REMEMBERED.map(|(pattern, _)| pattern)) {
            let parts: Vec<&str> = pattern.split(' ').collect();
            assert!(parts.iter().filter(|part| **part == "*").count() <= 3, "{pattern}");
            assert!(parts.windows(2).all(|pair| pair != ["*", "*"]), "{pattern}");
            assert_eq!(pattern, pattern.to_lowercase());
        }
    }

    #[test]
    fn every_place_in_a_reply_can_be_filled() {
        for (pattern, replies) in RULES.iter().flat_map(|rule| rule.parts) {
            let stars = pattern.split(' ').filter(|part| *part == "*").count();
            for place in replies.iter().flat_map(|reply| reply.split('{').skip(1)) {
                let number = place.split('}').next().unwrap().trim_start_matches('=').parse::<usize>();
                assert!(number.is_err() || (1..=stars).contains(&number.unwrap()), "{pattern}: {place}");
            }
        }
        for place in all_replies().flat_map(|reply| reply.split('{').skip(1)) {
            let place = place.split_once('}').expect("closed").0.trim_start_matches('=');
            let known = ["name", "bot", "topic", "quote", "earlier", "memory"].contains(&place);
            assert!(known || place.parse::<usize>().is_ok(), "{place}");
        }
    }

    #[test]
    fn the_last_reply_of_each_fallback_can_always_be_said() {
        for replies in [QUESTION, TOPIC, WORDLESS] {
            assert!(replies.iter().any(|reply| !reply.replace("{name}", "").contains('{')), "{replies:?}");
        }
    }
}
