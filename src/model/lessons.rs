//! How each model wants to be asked: what settings say, and what was learnt, which is kept in the data folder.
//!
//! ```text
//! models.json     {"openai:NAME": {"merge_roles": true, "context_tokens": 4096}, …}
//! ```
//!
//! Promises: the file is written aside and renamed, so a reader sees a whole one; without it, or with one that cannot be read,
//! everything is learnt again, at the price of one refused request each.
//! Not here: what is learnt from what (`antiphon-bot`).

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use antiphon_bot::{Known, Shape};
use tracing::warn;

use crate::config::{Config, LogKind};

/// Its name in the data folder.
const FILE: &str = "models.json";

type Shapes = BTreeMap<String, Shape>;

/// What is known of all models.
pub(crate) struct Lessons {
    given: Shapes,
    learnt: Arc<Mutex<Shapes>>,
    path: Option<PathBuf>,
}

impl Lessons {
    /// Of the settings and the data folder, if the log is not in memory.
    pub(crate) fn of(config: &Config) -> Lessons {
        let path = (config.log != LogKind::Memory).then(|| config.data.join(FILE));
        let learnt = path.as_deref().map(read).unwrap_or_default();
        Lessons { given: config.models.clone(), learnt: Arc::new(Mutex::new(learnt)), path }
    }

    /// What is known of `model`; what is learnt of it from now on is kept.
    pub(crate) fn known(&self, model: &str) -> Known {
        let (all, path, name) = (self.learnt.clone(), self.path.clone(), model.to_owned());
        let remember = move |shape: Shape| {
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(name.clone(), shape);
            // A few hundred bytes, a few times in a server's life.
            if let Some(why) = path.as_deref().and_then(|path| write(path, &all).err()) {
                warn!(%why, "what was learnt about a model cannot be kept, and is learnt again after the next start");
            }
        };
        Known::remembering(self.given(model), self.learnt(model), remember)
    }

    /// What settings say about `model`.
    pub(crate) fn given(&self, model: &str) -> Shape {
        self.given.get(model).copied().unwrap_or_default()
    }

    /// What was learnt about `model`.
    pub(crate) fn learnt(&self, model: &str) -> Shape {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied().unwrap_or_default()
    }
}

fn read(path: &Path) -> Shapes {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Shapes::default(),
        Err(why) => {
            warn!(%why, "what was learnt about models cannot be read from {}; it is learnt again", path.display());
            return Shapes::default();
        }
    };
    serde_json::from_str(&text).unwrap_or_else(|why| {
        warn!(%why, "what was learnt about models cannot be read from {}; it is learnt again", path.display());
        Shapes::default()
    })
}

fn write(path: &Path, shapes: &Shapes) -> io::Result<()> {
    let aside = path.with_extension("json.new");
    fs::write(&aside, serde_json::to_string_pretty(shapes)?)?;
    fs::rename(aside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_there_after_a_restart_and_a_damaged_file_is_no_reason_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let lessons = || Lessons {
            given: Shapes::default(),
            learnt: Arc::new(Mutex::new(read(&path))),
            path: Some(path.clone()),
        };
        assert_eq!(lessons().learnt("openai:m"), Shape::default());
        let shape = Shape { merge_roles: Some(true), ..Shape::default() };
        write(&path, &Shapes::from([("openai:m".to_owned(), shape)])).unwrap();
        assert_eq!(lessons().learnt("openai:m"), shape);
        assert_eq!(lessons().known("openai:m").shape(), shape);
        assert_eq!(lessons().known("openai:other").shape(), Shape::default());
        fs::write(&path, "{").unwrap();
        assert_eq!(lessons().learnt("openai:m"), Shape::default());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
