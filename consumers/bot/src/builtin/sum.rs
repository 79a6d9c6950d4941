//! Works out a sum such as `12 * (3 + 4) / 5`.
//!
//! Promises: bounded time and depth; nothing but a whole sum is taken as one, so `7.10` or `a/b` is not.

/// A longer one was not typed by a person.
const CHARS_MAX: usize = 80;
/// Brackets within brackets.
const DEPTH_MAX: usize = 16;

/// The value of `text`, if all of it is a sum of at least two numbers.
pub(super) fn of(text: &str) -> Option<String> {
    let chars: Vec<char> = text.chars().take(CHARS_MAX + 1).filter(|c| !c.is_whitespace()).collect();
    if chars.len() > CHARS_MAX || !chars.iter().skip(1).any(|c| "+-*×/÷".contains(*c)) {
        return None;
    }
    let mut sum = Sum { chars: &chars, at: 0, depth: 0 };
    let value = sum.terms()?;
    (sum.at == chars.len() && value.is_finite()).then(|| shown(value))
}

fn shown(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

struct Sum<'a> {
    chars: &'a [char],
    at: usize,
    depth: usize,
}

impl Sum<'_> {
    fn next_of(&mut self, wanted: &str) -> Option<char> {
        let c = *self.chars.get(self.at)?;
        wanted.contains(c).then(|| self.at += 1).map(|()| c)
    }

    fn terms(&mut self) -> Option<f64> {
        let mut value = self.factors()?;
        while let Some(sign) = self.next_of("+-") {
            let other = self.factors()?;
            value = if sign == '+' { value + other } else { value - other };
        }
        Some(value)
    }

    fn factors(&mut self) -> Option<f64> {
        let mut value = self.number()?;
        while let Some(sign) = self.next_of("*×/÷") {
            let other = self.number()?;
            value = if "*×".contains(sign) { value * other } else { value / other };
        }
        Some(value)
    }

    fn number(&mut self) -> Option<f64> {
        if self.next_of("-").is_some() {
            return self.plain().map(|value| -value);
        }
        self.plain()
    }

    fn plain(&mut self) -> Option<f64> {
        if self.next_of("(").is_some() {
            self.depth += 1;
            let value = if self.depth <= DEPTH_MAX { self.terms()? } else { return None };
            self.depth -= 1;
            return self.next_of(")").map(|_| value);
        }
        let digits = self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit() || **c == '.').count();
        let number: String = self.chars[self.at..self.at + digits].iter().collect();
        self.at += digits;
        number.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums_are_worked_out_and_nothing_else_is() {
        for (text, value) in [
            ("2+2", "4"),
            ("12 * (3 + 4)", "84"),
            ("-3 - -4", "1"),
            ("1/3", "0.333333"),
            ("0.1 + 0.2", "0.3"),
            ("7÷2×2", "7"),
        ] {
            assert_eq!(super::of(text).as_deref(), Some(value), "{text}");
        }
        let deep = "(".repeat(40) + "1+1";
        for text in
            ["", "7", "7.10", "-7", "a/b", "1/0", "2+", "2 2", "()", "1..2+1", "2+2 apples", &deep, &"1+".repeat(5000)]
        {
            assert_eq!(super::of(text), None, "{text}");
        }
    }
}
